"""Asks a PACS, just before an object is sent, whose study that is by now: C-FIND as SCU (PS3.4 C.4.1).

Images are corrected, merged and moved in a PACS without anybody telling this node. A draft that names the patient of
yesterday is held for a person.
"""

from collections.abc import Mapping
from io import BytesIO

from pydicom import dcmread
from pynetdicom import _config

from dicom_node.errors import NodeError, PeerRejected
from dicom_node.patients import Identifier
from dicom_node.peers import DicomDestination
from dicom_node.pull.association import STUDY_ROOT_FIND
from dicom_node.pull.query import find
from integration.association import associated
from integration.destinations import NOT_SENT, Ack, Destination, Encoded, Outcome
from integration.document import ReportDocument
from integration.source_header import SourceHeader

_KEYS = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber")

Identity = Mapping[str, str]  # keyword → value


class AskingFirst:
    """A destination that sends only what still fits the study as its PACS knows it."""

    def __init__(self, sender: Destination, destination: DicomDestination, calling_ae: str) -> None:
        self.name = sender.name
        self.kind = sender.kind
        self.timeout_s = 2 * sender.timeout_s  # to ask, and to send
        self._sender = sender
        self._destination = destination
        self._calling_ae = calling_ae

    def encode(self, document: ReportDocument) -> Encoded:
        return self._sender.encode(document)

    def send(self, payload: bytes) -> Ack:
        """Ask, then send. What the PACS does not know, or cannot be asked, is tried again later."""
        header = SourceHeader.of(dcmread(BytesIO(payload), stop_before_pixels=True))
        ours = {keyword: header.text(keyword) for keyword in _KEYS}
        try:
            known = self._find(ours["StudyInstanceUID"])
        except PeerRejected:
            return self._ack(Outcome.REJECTED, "cannot be asked whose study it is: it offers no C-FIND")
        except NodeError as error:
            return Ack(Outcome.RETRY, NOT_SENT, f"{error}.")
        if not known:
            return self._ack(Outcome.RETRY, "does not have the study")
        conflicts = [words for each in known if (words := _conflict(ours, each))]
        return self._ack(Outcome.REJECTED, conflicts[0]) if conflicts else self._sender.send(payload)

    def _find(self, study_instance_uid: str) -> list[Identity]:
        """The study as the PACS knows it; empty if it does not. Raises PeerUnreachable, PeerBusy or PeerRejected."""
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False  # they name the patient
        keys = {**dict.fromkeys(_KEYS, ""), "StudyInstanceUID": study_instance_uid}
        with associated(self._destination, self._calling_ae, sop_class_uid=STUDY_ROOT_FIND) as assoc:
            answers = find(assoc, self._destination, "STUDY", keys)
        return [each for each in answers if each["StudyInstanceUID"] == study_instance_uid]

    def _ack(self, outcome: Outcome, words: str) -> Ack:
        return Ack(outcome, NOT_SENT, f"{self._destination.ae_title} {words}.")


def _conflict(ours: Identity, theirs: Identity) -> str:
    """Why the object must not go there, in words that name nobody; empty if it may.

    Who is named by neither agrees; an accession number contradicts none that is empty.
    """
    patients = [Identifier.of(each["PatientID"], each["IssuerOfPatientID"]) for each in (ours, theirs)]
    if theirs["PatientID"] and not patients[0].agrees(patients[1]):
        return "has this study under another patient"
    numbers = {each["AccessionNumber"] for each in (ours, theirs)} - {""}
    return "has this study under another accession number" if len(numbers) > 1 else ""
