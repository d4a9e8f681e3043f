"""A thread beside the web role that notes patients' names, so that a study can be looked for soon after it came."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node import logs
from dicom_node.demographics import note_names
from dicom_node.errors import StorageAway
from dicom_node.receive.intake import Receiver
from dicom_node.rounds import every

_log = logs.get("naming")


@contextmanager
def naming(receiver: Receiver, interval_s: float) -> Iterator[None]:
    """Go rounds while in the block."""
    stop = threading.Event()
    rounds = threading.Thread(target=every, args=(interval_s, stop, lambda: _go_round(receiver)), name="naming")
    rounds.start()
    try:
        yield
    finally:
        stop.set()
        rounds.join()


def _go_round(receiver: Receiver) -> bool:
    """Returns whether there may be more."""
    try:
        return note_names(receiver.sessions, receiver.store)
    except (StorageAway, OSError) as error:
        _log.warning("names_not_read", trace=logs.places(error))
        return False
