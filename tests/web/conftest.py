"""What the tests of the page share."""

from collections.abc import Iterator

import pytest
from doubles import FrozenClock
from page_browser import page_of

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore


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
