"""`dicom-node import`: objects from files, with a progress bar and a table of what became of them."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from dicom_node.audit import audited, who_runs_this
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import opened_current
from dicom_node.receive.importing import Fate, Summary, import_files
from dicom_node.receive.intake import Receiver
from dicom_node.receive.media import opened_media
from dicom_node.receive.transfers import Transfers

_MOST_NAMES = 3  # of the files refused for one reason; --json lists all


def run(path: Path, settings: Settings, *, as_json: bool) -> int:
    """Import what is there, beside a node that runs or not. Returns the exit status: 1 if a file was refused."""
    summary = Summary()
    with (
        opened_current(settings) as engine,
        opened_media(path) as files,
        _audited(settings) as transfers,
        closing(import_files(Receiver.of(settings, engine, utc_now), files, transfers)) as outcomes,
    ):
        for outcome in track(outcomes, "Importing", len(files), console=Console(stderr=True)):
            summary.add(outcome)
    if as_json:
        print(json.dumps(_as_json(summary), indent=2))
    else:
        Console().print(_table(summary))
    return 1 if summary.refused else 0


@contextmanager
def _audited(settings: Settings) -> Iterator[Transfers]:
    with audited(settings, utc_now) as trail:
        transfers = Transfers(partial(trail.imported, who_runs_this()))
        try:
            yield transfers
        finally:
            transfers.tell()


def _as_json(summary: Summary) -> dict[str, object]:
    counts = {fate.name.lower(): summary.counts[fate] for fate in Fate}
    return {**counts, "skipped_because": summary.skipped, "refused_because": summary.refused}


def _table(summary: Summary) -> Table:
    table = Table("files", "what became of them", "why")
    for fate in (Fate.IMPORTED, Fate.ALREADY_THERE):
        table.add_row(str(summary.counts[fate]), fate, "")
    for reason, count in sorted(summary.skipped.items()):
        table.add_row(str(count), Fate.SKIPPED, reason)
    for reason, names in sorted(summary.refused.items()):
        some = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
        table.add_row(str(len(names)), Fate.REFUSED, f"{reason}: {some}")
    return table
