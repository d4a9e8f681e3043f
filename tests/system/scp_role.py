"""The scp role alone, as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from house import is_open
from waiting import LONG_S, free_port, wait_until

_START_S = 120.0


@dataclass
class Role:
    """`dicom-node scp`, or another role, with settings by name. Its log goes beside."""

    log: Path
    settings: Mapping[str, object]
    name: str = "scp"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str] = os.environ) -> None:
        own = {f"DICOM_NODE_{key.upper()}": str(value) for key, value in {"port": self.port, **self.settings}.items()}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "dicom_node", self.name]
            self.process = subprocess.Popen(
                command, env={**environment, **own}, stdout=log, stderr=log, start_new_session=True
            )
        if self.name == "scp":
            wait_until(lambda: is_open(self.port), "the receiver listens", timeout_s=_START_S)

    def end(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Also of all that it started. Harmless when it has ended."""
        if self.process is not None:
            os.killpg(self.process.pid, by)
            self.process.wait(LONG_S)
            self.process = None
