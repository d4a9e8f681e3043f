"""`make bench-receive`: how fast objects are received, beside others on the same machine in the same minute.

Only ratios of the same repetition mean anything: absolute figures change from run to run. Each run has a fresh process
and folder; the disk is synced before; the clock runs while objects are sent.
"""

import argparse
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from objects import KINDS, SentObject, make_objects  # noqa: E402  found by the line above
from receivers import RECEIVERS, available, running  # noqa: E402
from sender import Sending, send_all, send_by  # noqa: E402

# By kind, sender (how many associations of ours, or a program of DCMTK's), receiver; one for each repetition.
Runs = dict[tuple[str, str, str], list[Sending]]
DOCUMENT = Path(__file__).parents[2] / "deploy" / "receiving.md"
_MOST_WRITTEN = 4_000_000_000  # bytes, by one run and what is on its way
_REMOVED_FOR_GOOD_S = 90.0
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-receive-", dir=options.folder) as scratch:
        runs = _measure(options, Path(scratch))
    table = _table(options, runs)
    print(table)
    if options.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        DOCUMENT.write_text(before + BEGIN + table + END + after, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receivers", default=",".join(available()), help=f"of {', '.join(RECEIVERS)}; node is always")
    parser.add_argument("--kinds", default=",".join(KINDS))
    senders = ["1", "4", "8", *filter(shutil.which, ("dcmsend", "storescu"))]
    parser.add_argument("--senders", default=",".join(senders), help="so many associations, or who sends by one")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", default=None, help="on the disk to measure; several GB are written")
    parser.add_argument("--write", action="store_true", help="put the table into deploy/receiving.md")
    options = parser.parse_args()
    options.kinds = options.kinds.split(",")
    options.senders = options.senders.split(",")
    options.receivers = list(dict.fromkeys(["node", *options.receivers.split(",")]))
    return options


def _measure(options: argparse.Namespace, scratch: Path) -> Runs:
    objects = {kind: make_objects(kind, scratch / kind) for kind in options.kinds}
    (scratch / "out").mkdir()
    runs: Runs = defaultdict(list)
    for repetition in range(options.repetitions):
        for kind in options.kinds:
            for sender in options.senders:
                for name in random.sample(options.receivers, len(options.receivers)):
                    folder = scratch / "out" / f"{name}-{kind}-{sender}-{repetition}"
                    sending = _one(name, objects[kind], sender, folder)
                    runs[kind, sender, name].append(sending)
                    print(f"{repetition} {kind} {sender:8} {name:12} {sending.megabytes_per_s:7.0f} MB/s", flush=True)
    return runs


def _one(name: str, objects: list[SentObject], sender: str, folder: Path) -> Sending:
    """In a new folder, which stays: ext4 is slow to make files for minutes after others were removed."""
    if shutil.disk_usage(folder.parent).free < _MOST_WRITTEN:
        shutil.rmtree(folder.parent)
        time.sleep(_REMOVED_FOR_GOOD_S)
        folder.parent.mkdir()
    with running(name, folder) as port:
        send_all(port, objects[:1], 1)
        os.sync()
        rest = objects[1:]
        sending = send_all(port, rest, int(sender)) if sender.isdecimal() else send_by(sender, port, rest)
    _drop_pages(folder)
    return sending


def _drop_pages(folder: Path) -> None:
    """The next run takes memory that is there: a virtual machine's is slow when it is first written to."""
    os.sync()
    for file in filter(Path.is_file, folder.rglob("*")):
        with file.open("rb") as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _table(options: argparse.Namespace, runs: Runs) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    head = f"{datetime.now(UTC):%Y-%m-%d}, {machine}; medians of {options.repetitions}.\n\n"
    others = [name for name in options.receivers if name != "node"]
    lines = [
        "| objects | sender | MB/s | objects/s | " + " | ".join(f"÷ {name}" for name in others) + " |",
        "|---|---|---|---|" + "---|" * len(others),
    ]
    for kind in options.kinds:
        for sender in options.senders:
            ours = runs[kind, sender, "node"]
            speed = statistics.median(each.megabytes_per_s for each in ours)
            rate = statistics.median(each.objects / each.seconds for each in ours)
            ratios = [_ratio(ours, runs[kind, sender, name]) for name in others]
            lines.append(f"| {kind} | {sender} | {speed:.0f} | {rate:.0f} | " + " | ".join(ratios) + " |")
    meanings = [f"- `{name}`: {RECEIVERS[name]}" for name in options.receivers]
    return head + "\n".join([*lines, "", *meanings]) + "\n"


def _ratio(ours: list[Sending], theirs: list[Sending]) -> str:
    pairs = zip(ours, theirs, strict=True)
    ratios = sorted(one.megabytes_per_s / other.megabytes_per_s for one, other in pairs)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


if __name__ == "__main__":
    main()
