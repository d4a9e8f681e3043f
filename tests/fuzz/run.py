"""`make fuzz RUNS=10000000`: the long fuzzing run. It goes on where it was stopped and ends with a table.

With --keep it begins with synthetic inputs only, and what it finds becomes the corpus of the repository.
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from corpus import keep  # noqa: E402  found by the line above
from slices import Run  # noqa: E402

_REPOSITORY = Path(__file__).parents[2]


def main() -> None:
    options = _options()
    run = Run(options.folder, with_published=not options.keep)
    slices = run.slices(options.runs)
    with ThreadPoolExecutor(options.processes) as pool:
        for line in pool.map(lambda each: run.work(*each), slices):
            print(line, flush=True)
    print(_table(run))
    if options.keep:
        for name in run.tallies:
            keep(name, (each.read_bytes() for each in (run.folder / name).iterdir()))
    sys.exit(any(each.findings for each in run.tallies.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions in all, those of earlier runs counted")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=None, help="var/fuzz; forget a run by removing it")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.folder = options.folder or _REPOSITORY / "var" / ("fuzz-kept" if options.keep else "fuzz")
    return options


def _table(run: Run) -> str:
    lines = ["", "| target | executions | a second | branches | inputs | grown, MB | findings |", "|---|" + "---|" * 6]
    for name, each in run.tallies.items():
        rate = each.executions // max(1, each.seconds)
        measures = (f"{each.executions:,}", rate, each.branches, each.inputs, each.grown_mb, len(each.findings))
        lines.append(f"| {name} | " + " | ".join(map(str, measures)) + " |")
    findings = [f"{name}: {words}" for name, each in run.tallies.items() for words in each.findings]
    return "\n".join([*lines, "", f"{run.executions():,} executions", *findings])


if __name__ == "__main__":
    main()
