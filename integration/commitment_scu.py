"""Asks a PACS to commit what it has stored: the Storage Commitment Push Model as SCU (PS3.4 J.3.2)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from dicom_node.errors import PeerBusy, PeerRejected, PeerUnreachable
from dicom_node.peers import DicomDestination
from dicom_node.receive.commitment import REQUEST_STORAGE_COMMITMENT, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, Reference
from dicom_node.receive.normalized import BUSY
from integration.association import associated
from integration.sr_element import make_item, put

WAIT_FOR_ANSWER_S = 2.0  # on the association of the request; many a PACS opens one of its own
_LOOK_EVERY_S = 0.05

AnswerHandler = Callable[[evt.Event], tuple[int, None]]


@dataclass(frozen=True)
class CommitmentScu:
    """Asks one PACS. Its answer goes to the handler, here or at this node's port; it may come before `ask` returns."""

    destination: DicomDestination
    calling_ae: str
    on_answer: AnswerHandler

    def ask(self, reference: Reference, transaction_uid: str) -> None:
        """Ask for one object, and stay a moment for the answer.

        Raises PeerUnreachable, PeerBusy or PeerRejected if the PACS did not take the request.
        """
        answered, is_told = threading.Event(), threading.Event()

        def on_answer(event: evt.Event) -> tuple[int, None]:
            answered.set()
            return self.on_answer(event)

        def on_pdu_sent(_: evt.Event) -> None:  # our status; hanging up sooner would leave the PACS without it
            if answered.is_set():
                is_told.set()

        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_N_EVENT_REPORT, on_answer),
            (evt.EVT_PDU_SENT, on_pdu_sent),
        ]
        with associated(
            self.destination, self.calling_ae, sop_class_uid=STORAGE_COMMITMENT, handlers=handlers
        ) as assoc:
            self._request(assoc, _action_information(reference, transaction_uid))
            _stay(assoc, is_told)

    def _request(self, assoc: Association, information: Dataset) -> None:
        name = self.destination.ae_title
        try:
            response, _ = assoc.send_n_action(
                information, REQUEST_STORAGE_COMMITMENT, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
            )
        except RuntimeError as error:  # pynetdicom: the PACS hung up before the request
            raise PeerUnreachable(f"{name} ended the association before it was asked to commit") from error
        if "Status" not in response:
            raise PeerUnreachable(f"{name} gave no answer to the request to commit")
        if response.Status in BUSY:
            raise PeerBusy(f"{name} cannot commit now (status {response.Status:04X})")
        if code_to_category(response.Status) not in ("Success", "Warning"):
            raise PeerRejected(f"{name} refused to commit (status {response.Status:04X})")


def _action_information(reference: Reference, transaction_uid: str) -> Dataset:
    """Source: PS3.4 table J.3-1."""
    item = make_item(ReferencedSOPClassUID=reference.sop_class_uid, ReferencedSOPInstanceUID=reference.sop_instance_uid)
    information = make_item(TransactionUID=transaction_uid)
    put(information, "ReferencedSOPSequence", [item])
    return information


def _stay(assoc: Association, is_told: threading.Event) -> None:
    """Until the answer was taken, the association has ended or our patience has."""
    for _ in range(round(WAIT_FOR_ANSWER_S / _LOOK_EVERY_S)):
        if is_told.wait(_LOOK_EVERY_S) or not assoc.is_established:
            return
