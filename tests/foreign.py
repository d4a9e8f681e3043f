"""Programs that nobody here wrote, found and run."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

_DEBIAN_POSTGRES = Path("/usr/lib/postgresql")


def require_peer(name: str) -> str:
    """The path of a program that a test needs. A missing one skips the test at home and fails it in CI."""
    found = shutil.which(name) or next((str(p) for p in sorted(_DEBIAN_POSTGRES.glob(f"*/bin/{name}"))), None)
    return found or absent(name)


def absent(name: str) -> NoReturn:
    """Skip the test at home, fail it in CI."""
    words = f"{name} is not installed: run tests/install_peers.sh"
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)


@contextmanager
def running(command: list[str], *, stop_by: signal.Signals = signal.SIGTERM, **options: object) -> Iterator[None]:
    """A server that runs in the block; exactly this process is stopped."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield
    finally:
        process.send_signal(stop_by)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
