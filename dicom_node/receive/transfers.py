"""What came on each association, or by an import, for the audit trail."""

import threading
from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_node.audit import AuditTrail
from dicom_node.audit_messages import Sender, Transfer
from dicom_node.receive.header import InstanceHeader

_MOST_STUDIES = 1_000  # remembered; an importer may send its whole archive on one association


class Transfers:
    """Counts the objects kept, by study; tells of each study when the association ends (PS3.15 A.5.3.5, A.5.3.7).

    Any thread may call. A study of two patients has two messages: one message may name only one.
    """

    def __init__(self, tell: Callable[[Transfer], object]) -> None:
        self._tell_of = tell
        self._lock = threading.Lock()
        self._studies: dict[tuple[str, str], Transfer] = {}

    def add(self, header: InstanceHeader) -> None:
        """An object is durable."""
        with self._lock:
            key = (header.study_instance_uid, header.patient_id)
            transfer = self._studies.setdefault(key, Transfer(*key))
            transfer.instances[header.sop_class_uid] = transfer.instances.get(header.sop_class_uid, 0) + 1
            is_much = len(self._studies) >= _MOST_STUDIES
        if is_much:
            self.tell()

    def tell(self) -> None:
        """The association has ended. Harmless when called again."""
        with self._lock:
            studies, self._studies = self._studies, {}
        for transfer in studies.values():
            self._tell_of(transfer)


class TransferBook:
    """The transfers of every association that is open."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail
        self._lock = threading.Lock()
        self._open: WeakKeyDictionary[Association, Transfers] = WeakKeyDictionary()

    def add(self, assoc: Association, header: InstanceHeader) -> None:
        """An object that came on the association is durable."""
        with self._lock:
            transfers = self._open.get(assoc)
            if transfers is None:
                sender = Sender(assoc.requestor.address, assoc.requestor.ae_title.strip())
                transfers = self._open[assoc] = Transfers(partial(self._trail.transferred, sender))
        transfers.add(header)

    def tell(self, assoc: Association) -> None:
        """The association has ended."""
        with self._lock:
            transfers = self._open.pop(assoc, None)
        if transfers is not None:
            transfers.tell()

    def on_closed(self, event: Event) -> None:
        """EVT_CONN_CLOSE."""
        self.tell(event.assoc)
