"""What the tests of the page share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import chromium
from doubles import FrozenClock
from drafted_study import add_drafted
from page_browser import page_of

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.peers import DicomDestination, MllpDestination
from dicom_node.receive.intake import Receiver
from dicom_node.states import JobState
from dicom_node.storage import InstanceStore

__all__ = ["chromium"]  # a fixture


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def node(settings: Settings, sqlite_sessions: Sessions, clock: FrozenClock) -> Receiver:
    """Rows and files of a node; no role runs."""
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, clock)


@pytest.fixture
def page(settings: Settings, node: Receiver) -> Iterator[int]:
    """The port of its page."""
    with page_of(settings, node) as port:
        yield port


@pytest.fixture
def busy_page(settings: Settings, node: Receiver, tmp_path: Path) -> Iterator[int]:
    """The port of the page of a node with PACS, RIS, rules, and a study to which everything can be done."""
    rules = tmp_path / "rules.yml"
    rules.write_text("rules: [{name: children, when: {institution_name: '*children*'}, read: no}]")
    pacs = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    ris = MllpDestination(name="ris", host="127.0.0.1", port=1)
    with node.sessions.begin() as session:
        add_drafted(session, node, JobState.FAILED)
    changes = {"pacs": (pacs,), "ris": (ris,), "rules_file": rules}
    with page_of(settings.model_copy(update=changes), node) as port:
        yield port
