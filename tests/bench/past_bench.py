"""`make bench-past`: whether a node answers as fast after years as on its first day.

How long what roles and pages ask over and over takes with so many studies behind it, in ms: medians of five.
DICOM_NODE_DATABASE_URL names another database than SQLite in a temporary folder; it must be empty.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "integration")]

from hl7_messages import final, order  # noqa: E402  found by the line above
from long_past import live_long  # noqa: E402
from prometheus_client import CollectorRegistry, generate_latest  # noqa: E402
from rows import receive  # noqa: E402
from sqlmodel import Session  # noqa: E402

from dicom_node import logs  # noqa: E402
from dicom_node.clock import utc_now  # noqa: E402
from dicom_node.config import Settings  # noqa: E402
from dicom_node.database import Sessions, migrate, opened  # noqa: E402
from dicom_node.metrics.collector import NodeCollector  # noqa: E402
from dicom_node.models import Study  # noqa: E402
from dicom_node.notify.conditions import look  # noqa: E402
from dicom_node.peers import DicomDestination, MllpDestination  # noqa: E402
from dicom_node.receive.sweep import sweep_once  # noqa: E402
from dicom_node.retention.eligible import START, find_ended, take_ended  # noqa: E402
from dicom_node.web.destinations import peer_states  # noqa: E402
from dicom_node.web.figures import throughput  # noqa: E402
from dicom_node.web.study_view import view_study  # noqa: E402
from dicom_node.web.worklist import Wanted, newest_change, read_worklist  # noqa: E402
from integration.message_intake import MessageIntake  # noqa: E402

REPETITIONS = 5
_PEERS = {
    "pacs": (DicomDestination(name="pacs", ae_title="PACS", host="pacs"),),
    "ris": (MllpDestination(name="ris", host="ris"),),
}


class Node:
    """What is asked of it; each question leaves it as it was, or with a row more."""

    def __init__(self, settings: Settings, sessions: Sessions, studies: int) -> None:
        self._settings, self._sessions, self._middle = settings, sessions, studies // 2
        self._registry = CollectorRegistry()
        self._registry.register(NodeCollector(settings, sessions, utc_now))
        self._intake = MessageIntake(settings, sessions, utc_now)
        self._count = 0

    @property
    def questions(self) -> Mapping[str, Callable[[], object]]:
        return {
            "an object of a new study is registered": self._receive,
            "an order, an earlier study's final report: kept": self._hear,
            "a round of the sweep": lambda: sweep_once(self._sessions, self._settings, utc_now, None),
            "images to remove: found, one study taken": partial(self._in_session, self._retain),
            "what channels are told": partial(self._in_session, lambda s: list(look(s, self._settings, utc_now()))),
            "a scrape of the metrics": lambda: generate_latest(self._registry),
            "page: has the list changed?": partial(self._in_session, newest_change),
            "page: the newest studies": self._list(Wanted()),
            "page: failed": self._list(Wanted("failed")),
            "page: failed and seen": self._list(Wanted("seen")),
            "page: skipped": self._list(Wanted("skipped")),
            "page: a name that many have": self._list(Wanted(words="smith")),
            "page: a name that nobody has": self._list(Wanted(words="zzzz")),
            "page: a study": partial(self._in_session, lambda s: view_study(s, s.get_one(Study, self._middle))),
            "page: destinations": partial(self._in_session, lambda s: peer_states(s, self._settings, utc_now())),
            "page: the charts": partial(self._in_session, lambda s: throughput(s, utc_now())),
        }

    def _in_session(self, ask: Callable[[Session], object]) -> None:
        with self._sessions() as session:
            ask(session)

    def _list(self, wanted: Wanted) -> Callable[[], None]:
        return partial(self._in_session, lambda session: read_worklist(session, wanted))

    def _receive(self) -> None:
        self._count += 1
        uids = {name: f"1.2.5.{self._count}" for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
        with self._sessions.begin() as session:
            receive(session, now=utc_now(), **uids)

    def _hear(self) -> None:
        self._count += 1
        name, earlier = f"new{self._count}", self._middle + self._count
        signed = final(control_id=f"f{name}", accession=f"ACC{earlier}", patient=f"P{earlier % 90_000}")
        ordered = order(control_id=name, placer=name, filler=name, accession=name)
        if not all(b"MSA|AA|" in (answer or b"") for answer in self._intake.take([ordered, signed])):
            raise ValueError("a message was not taken")

    def _retain(self, session: Session) -> None:
        before = utc_now() - timedelta(days=30)
        take_ended(session, find_ended(session, before, after=START)[0].study_id, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200_000)
    studies = parser.parse_args().studies
    logs.configure("bench", "WARNING")
    with tempfile.TemporaryDirectory(prefix="bench-past-") as name:
        settings = Settings(data_dir=Path(name)).model_copy(update=_PEERS)
        settings.instances_dir.mkdir()
        with opened(settings) as engine:
            migrate(engine)
            live_long(engine, studies, utc_now())
            print(f"| with {studies} studies, {engine.dialect.name} | ms |\n|---|---|")
            for what, ask in Node(settings, Sessions(engine), studies).questions.items():
                print(f"| {what} | {_median_ms(ask):.1f} |", flush=True)


def _median_ms(ask: Callable[[], object]) -> float:
    ask()  # the first fills caches
    return 1000 * statistics.median(_took_s(ask) for _ in range(REPETITIONS))


def _took_s(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
