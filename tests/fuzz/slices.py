"""A fuzzing run in slices, each one process of libFuzzer; what was done is written down after each."""

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from corpus import lay_out
from seeds import LONGEST

SHARES = {"stream": 7, "data_set": 3}  # of ten executions; a data set takes four times as long
SLICE = 100_000
HANG_S, MOST_MEMORY_MB = 10, 1024
_FUZZ = Path(__file__).with_name("fuzz.py")
_PULSE = re.compile(r"^#(\d+)\s.*cov: (\d+).*corp: (\d+)/.*rss: (\d+)Mb", re.MULTILINE)
_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)


@dataclass
class Tally:
    """What one target has had."""

    executions: int = 0
    seconds: int = 0
    branches: int = 0  # libFuzzer's cov
    inputs: int = 0
    grown_mb: int = 0  # most of any slice, after its first quarter
    slices: int = 0
    findings: list[str] = field(default_factory=list)


class Run:
    """A run that goes on where it was stopped. Safe to call from several threads."""

    def __init__(self, folder: Path, *, with_published: bool) -> None:
        self.folder = folder
        self._state, self._lock = folder / "state.json", threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._arguments = {name: lay_out(name, folder, with_published=with_published) for name in SHARES}
        before = json.loads(self._state.read_text("utf-8")) if self._state.exists() else {}
        self.tallies = {name: Tally(**before.get(name, {})) for name in SHARES}

    def executions(self) -> int:
        return sum(each.executions for each in self.tallies.values())

    def slices(self, executions: int) -> Iterator[tuple[str, int]]:
        """Targets and seeds, until so many executions are done or under way."""
        while True:
            with self._lock:
                planned = {name: self.tallies[name].executions + self._under_way[name] for name in SHARES}
                if sum(planned.values()) >= executions:
                    return
                target = min(SHARES, key=lambda name: planned[name] / SHARES[name])
                self._under_way[target] += SLICE
                seed = 1 + planned[target] // SLICE
            yield target, seed

    def work(self, target: str, seed: int) -> str:
        """One slice. Returns a line for a person."""
        options = [f"-runs={SLICE}", f"-seed={seed}", f"-artifact_prefix={self.folder}/finding-{target}-"]
        said, code = fuzz(target, [*self._arguments[target], *options])
        with self._lock:
            self._under_way[target] -= SLICE
            tally = self.tallies[target]
            _count(tally, said)
            if code:
                tally.findings.append(_finding(said))
            self._write()
            return f"{self.executions():>11,}  {target:9} {tally.branches} branches, {tally.inputs} inputs"

    def _write(self) -> None:
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps({name: asdict(each) for name, each in self.tallies.items()}), encoding="utf-8")
        new.replace(self._state)


def fuzz(target: str, arguments: list[str]) -> tuple[str, int]:
    """What libFuzzer said, and its exit code: 0 when nothing was found."""
    # What libFuzzer looks at, ru_maxrss, begins with the most that the process had which starts it.
    inherited_mb = getrusage(RUSAGE_SELF).ru_maxrss // 1024
    bounds = [f"-max_len={LONGEST}", f"-timeout={HANG_S}", f"-rss_limit_mb={inherited_mb + MOST_MEMORY_MB}"]
    command = [sys.executable, str(_FUZZ), target, *arguments, *bounds]
    environment = {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"}  # the same run for the same seed
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    return done.stderr, done.returncode


def _count(tally: Tally, said: str) -> None:
    pulses = [tuple(map(int, each)) for each in _PULSE.findall(said)]
    tally.slices += 1
    if pulses:
        executions, tally.branches, tally.inputs, memory_mb = pulses[-1]
        settled = next(mb for count, _, _, mb in pulses if count * 4 >= executions)
        tally.executions += executions
        tally.grown_mb = max(tally.grown_mb, memory_mb - settled)
    if done := _DONE.search(said):
        tally.seconds += int(done[2])


def _finding(said: str) -> str:
    lines = [line for line in said.splitlines() if "Error" in line or "ERROR" in line or "Test unit written" in line]
    return " | ".join(lines) or said[-300:]
