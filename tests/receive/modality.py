"""A modality that asks for storage commitment and keeps what it is told (PS3.4 J.3, the SCU)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ssl import SSLContext

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from waiting import LONG_S, wait_until

from dicom_node.receive.commitment import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from dicom_node.requestor import Requestor

AE_TITLE = "MODALITY"
Pair = tuple[str, str]  # SOP Class UID, SOP Instance UID


class Modality:
    """Asks on associations of its own; takes results on them, and on those that it is asked for."""

    def __init__(self, ae_title: str = AE_TITLE) -> None:
        self.ae_title = ae_title
        self.status = 0x0000  # what it answers to results
        self.before: Callable[[evt.Event], object] = lambda _: None  # called before it answers
        self.results: list[tuple[int, Dataset]] = []

    @contextmanager
    def associated(self, port: int, *contexts: str) -> Iterator[Association]:
        ae = Requestor(self.ae_title, timeout_s=LONG_S)  # hears a rejection also of who hangs up at once
        ae.network_timeout = LONG_S
        for context in contexts or (STORAGE_COMMITMENT,):
            ae.add_requested_context(context, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        assoc = ae.associate("127.0.0.1", port, ae_title="CXRNODE", evt_handlers=self._handlers)
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()

    @contextmanager
    def listening(
        self, context: str = STORAGE_COMMITMENT, *, with_roles: bool = True, tls: SSLContext | None = None
    ) -> Iterator[int]:
        """Its own port, for results. with_roles: it answers the proposal that the other side be the SCP."""
        ae = AE(self.ae_title)
        roles = {"scu_role": True, "scp_role": True} if with_roles else {}
        ae.add_supported_context(context, **roles)
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=self._handlers, ssl_context=tls)
        assert server is not None
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()

    def ask(self, port: int, *pairs: Pair, transaction: str = "1.2.3") -> int:
        """Ask and hang up. Returns the status of the N-ACTION."""
        with self.associated(port) as assoc:
            return ask(assoc, request(pairs, transaction))

    def wait_for(self, count: int, timeout_s: float = LONG_S) -> list[tuple[int, Dataset]]:
        wait_until(lambda: len(self.results) >= count, f"{count} results have come", timeout_s)
        return self.results

    @property
    def _handlers(self) -> list[evt.EventHandlerType]:
        return [(evt.EVT_N_EVENT_REPORT, self._on_result)]

    def _on_result(self, event: evt.Event) -> tuple[int, None]:
        self.before(event)
        self.results.append((event.event_type, event.event_information))
        return self.status, None


def request(pairs: Sequence[Pair], transaction: str | None = "1.2.3") -> Dataset:
    """The Action Information. Values are not validated: what modalities write is not valid either."""
    ds = Dataset()
    with config.disable_value_validation():
        if transaction is not None:
            ds.TransactionUID = transaction
        ds.ReferencedSOPSequence = Items([_item(*pair) for pair in pairs])
    return ds


def ask(
    assoc: Association, information: Dataset | None, *, action: int = 1, instance: str = WELL_KNOWN_INSTANCE
) -> int:
    """Send the N-ACTION. Returns its status."""
    status, _ = assoc.send_n_action(information, action, STORAGE_COMMITMENT, instance)
    return int(status.Status)


def committed(result: Dataset) -> set[Pair]:
    return {
        (each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID) for each in result.get("ReferencedSOPSequence", ())
    }


def failed(result: Dataset) -> dict[Pair, int]:
    return {
        (each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID): each.FailureReason
        for each in result.get("FailedSOPSequence", ())
    }


def _item(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    if sop_class:
        item.ReferencedSOPClassUID = sop_class
    if sop_instance:
        item.ReferencedSOPInstanceUID = sop_instance
    return item
