"""The independent checkers of ../shared/tools/validate_sr on files of ours."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from report_samples import SHARED

QUICK = ("--only", "dciodvfy,dsrdump")  # under a second for a file; all four take about seven
_VALIDATOR = SHARED / "tools" / "validate_sr" / "validate_sr.sh"


def find_errors(files: Iterable[Path], *options: str) -> list[str]:
    """What any of the checkers calls an error; skips the test at home, and fails it in CI, where they are missing."""
    if not (_VALIDATOR.exists() and shutil.which("dciodvfy") and shutil.which("dsrdump")):
        message = f"SR validators are missing: {_VALIDATOR}, dicom3tools, dcmtk"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    command = [_VALIDATOR, "--errors-only", *options, *files]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return [line.strip() for line in run.stdout.splitlines() if line.startswith("  error")]
