"""A PACS that stores, is asked for storage commitment, and answers as a test wants (PS3.4 J.3, the SCP)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from waiting import LONG_S

from dicom_node.receive.commitment import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from dicom_node.requestor import Requestor

AE_TITLE = "PACS"
SUCCESS = 0x0000

Tell = Callable[["CommittingPacs", Association, Dataset], None]  # what it does when it has answered an N-ACTION


@dataclass
class CommittingPacs:
    """`tell` may be changed at any time."""

    tell: Tell
    status: int = SUCCESS  # of the N-ACTION
    services: tuple[str, ...] = (BasicTextSRStorage, STORAGE_COMMITMENT)
    stored: list[bytes] = field(default_factory=list)  # data sets as they came
    asked: list[Dataset] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # what our side said to its reports
    node_port: int = 0  # where it opens associations of its own to
    _unanswered: list[Association] = field(default_factory=list)
    _tellers: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[int]:
        ae = AE(AE_TITLE)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = LONG_S
        for service in self.services:
            ae.add_supported_context(service)
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._on_ask),
            (evt.EVT_PDU_SENT, self._on_pdu_sent),
        ]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            for teller in self._tellers:
                teller.join(LONG_S)
            server.shutdown()

    def report(
        self, assoc: Association, information: Dataset, *, event_type: int = 1, instance: str = WELL_KNOWN_INSTANCE
    ) -> None:
        """Send an N-EVENT-REPORT and keep its status; 0 would be success, -1 is silence."""
        status, _ = assoc.send_n_event_report(information, event_type, STORAGE_COMMITMENT, instance)
        self.answers.append(int(status.get("Status", -1)))

    @contextmanager
    def associated(self, *, calling_ae: str = AE_TITLE) -> Iterator[Association]:
        """An association of its own with the node, on which it is the SCP."""
        ae = Requestor(calling_ae, timeout_s=LONG_S)
        ae.add_requested_context(STORAGE_COMMITMENT)
        role = build_role(STORAGE_COMMITMENT, scp_role=True)
        assoc = ae.associate("127.0.0.1", self.node_port, ae_title="CXRNODE", ext_neg=[role])
        try:
            yield assoc
        finally:
            assoc.release()

    def _on_store(self, event: evt.Event) -> int:
        self.stored.append(event.request.DataSet.getvalue())
        return SUCCESS

    def _on_ask(self, event: evt.Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        if self.status == SUCCESS:
            self._unanswered.append(event.assoc)
        return self.status, None

    def _on_pdu_sent(self, event: evt.Event) -> None:
        """Its answer to the N-ACTION is out: now it may tell."""
        if event.assoc in self._unanswered:
            self._unanswered.remove(event.assoc)
            teller = threading.Thread(target=self.tell, args=(self, event.assoc, self.asked[-1]))
            self._tellers.append(teller)
            teller.start()


def keep_silent(_: CommittingPacs, __: Association, ___: Dataset) -> None:
    """The request is lost in the archive."""


def commit_here(pacs: CommittingPacs, assoc: Association, asked: Dataset) -> None:
    """On the association of the request."""
    pacs.report(assoc, asked)


def commit_anew(pacs: CommittingPacs, _: Association, asked: Dataset) -> None:
    """On an association of its own."""
    with pacs.associated() as assoc:
        pacs.report(assoc, asked)


def fail_anew(pacs: CommittingPacs, _: Association, asked: Dataset) -> None:
    """It has lost what it stored."""
    with pacs.associated() as assoc:
        pacs.report(assoc, failure_of(asked), event_type=2)


def failure_of(asked: Dataset, reason: int = 0x0112) -> Dataset:
    """The Event Information of event type 2."""
    told = Dataset()
    told.TransactionUID = asked.TransactionUID
    told.FailedSOPSequence = asked.ReferencedSOPSequence
    for item in told.FailedSOPSequence:
        item.FailureReason = reason
    return told
