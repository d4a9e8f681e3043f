"""What telling needs."""

import threading
from dataclasses import dataclass, field

from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.storage import InstanceStore


@dataclass(frozen=True)
class Teller:
    """The database, the images, the rules and the time."""

    sessions: Sessions
    store: InstanceStore
    settings: Settings
    clock: Clock
    stop: threading.Event = field(default_factory=threading.Event)  # set: do not wait for a database that is away
