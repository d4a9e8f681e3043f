"""Having a source send a study: C-MOVE to this node's port, or C-GET on the same association (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Callable, Iterator

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from dicom_node.errors import PeerBusy, PeerRejected, PeerUnreachable
from dicom_node.peers import DicomSource
from dicom_node.pull.association import STUDY_ROOT_GET, STUDY_ROOT_MOVE, limited, require_context
from dicom_node.pull.query import PENDING, SUCCESS, text_of

LONGEST_RETRIEVAL_S = 900.0

# PS3.4 C.4.2.1.5, C.4.3.1.4
SUBOPERATIONS_FAILED = 0xB000
MOVE_DESTINATION_UNKNOWN = 0xA801


def retrieve(
    assoc: Association,
    source: DicomSource,
    study_instance_uid: str,
    *,
    destination_ae: str,
    is_here: Callable[[], bool],
) -> str:
    """Have the study sent. Returns, in words, what came: by C-MOVE to our scp, which answered each object for itself.

    is_here: whether the node has an object of the study; asked where the source does not say how many it sent.
    Raises PeerUnreachable without an answer in time, PeerBusy where the source fails or does not say that it sent the
    whole study, PeerRejected where it offers no retrieval or has nothing to send.
    """
    require_context(assoc, STUDY_ROOT_MOVE if source.retrieve == "move" else STUDY_ROOT_GET, source)
    with limited(assoc, LONGEST_RETRIEVAL_S):
        sent = 0
        for response, identifier in _responses(assoc, source, study_instance_uid, destination_ae):
            if response.get("Status") not in PENDING:
                _require_end(source, response, destination_ae, sent_before=sent)
                return _require_whole(source, response, identifier or Dataset(), is_here)
            sent = _sent(response)
    raise PeerUnreachable(f"{source.ae_title} sent no final answer")


def _responses(
    assoc: Association, source: DicomSource, study_instance_uid: str, destination_ae: str
) -> Iterator[tuple[Dataset, Dataset | None]]:
    request = Dataset()
    request.QueryRetrieveLevel, request.StudyInstanceUID = "STUDY", study_instance_uid
    try:
        if source.retrieve == "move":
            yield from assoc.send_c_move(request, destination_ae, STUDY_ROOT_MOVE)
        else:
            yield from assoc.send_c_get(request, STUDY_ROOT_GET)
    except RuntimeError as error:  # pynetdicom: the source hung up before the request
        raise PeerUnreachable(f"{source.ae_title} ended the association before the request") from error


def _require_end(source: DicomSource, response: Dataset, destination_ae: str, *, sent_before: int) -> None:
    """Raise for a final response that says that the source gave up. sent_before: objects, by the one before it."""
    if "Status" not in response:
        raise PeerUnreachable(f"{source.ae_title} did not answer in time, or ended the association")
    if response.Status == MOVE_DESTINATION_UNKNOWN:
        raise PeerBusy(f"{source.ae_title} does not know the move destination {destination_ae} (status A801)")
    if response.Status not in (SUCCESS, SUBOPERATIONS_FAILED):
        raise PeerBusy(f"{source.ae_title} ended with status {response.Status:04X} after {sent_before} objects")


def _require_whole(source: DicomSource, response: Dataset, identifier: Dataset, is_here: Callable[[], bool]) -> str:
    """The final response in words. Raises where something was left out, or where it cannot be told."""
    sent, remaining = _sent(response), _count(response, "Remaining")
    failed = max(_count(response, "Failed"), _named_failed(identifier))
    if failed or remaining:
        total = sent + failed + remaining
        raise PeerBusy(f"{source.ae_title} sent {sent} of {total} objects, {failed} failed")
    if response.Status == SUBOPERATIONS_FAILED and "NumberOfFailedSuboperations" not in response:
        raise PeerBusy(f"{source.ae_title} ended with status B000 and does not say how many objects failed")
    if not sent and "NumberOfCompletedSuboperations" in response:
        raise PeerRejected(f"{source.ae_title} has no such study, or sends nothing of it")
    if not sent and not is_here():
        raise PeerBusy(f"{source.ae_title} does not say how many objects it sent, and none is here")
    return f"{sent} objects came" if sent else "all objects came"


def _named_failed(identifier: Dataset) -> int:
    """(0008,0058) Failed SOP Instance UID List"""
    uids = text_of(identifier, "FailedSOPInstanceUIDList")
    return len(uids.split("\\")) if uids else 0


def _sent(response: Dataset) -> int:
    return _count(response, "Completed") + _count(response, "Warning")


def _count(response: Dataset, which: str) -> int:
    return int(response.get(f"NumberOf{which}Suboperations") or 0)
