"""Which roles of a supervisor live: its log tells their names, /proc the rest."""

import json
from contextlib import suppress
from pathlib import Path


def living_roles(log: Path, supervisor: int) -> dict[str, int]:
    """Role → process id, of the children of this process."""
    started = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        if '"role_started"' in line and line.endswith("\n"):
            entry = json.loads(line)
            started[entry["kind"]] = entry["pid"]
    return {role: pid for role, pid in started.items() if is_alive(pid) and _parent(pid) == supervisor}


def is_alive(pid: int) -> bool:
    return _stat(pid)[0] not in ("", "Z")


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """State, parent and so on, as proc(5) lists them after the command's name."""
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    return ["", "0"]
