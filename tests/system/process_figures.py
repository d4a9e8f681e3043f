"""What a process takes, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figures:
    descriptors: int
    threads: int
    memory_mb: float
    cpu_s: float


def figures_of(pid: int) -> Figures:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text(encoding="ascii").splitlines())
    fields = (process / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return Figures(
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(status["Threads"]),
        memory_mb=int(status["VmRSS"].split()[0]) / 1024,
        cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    )
