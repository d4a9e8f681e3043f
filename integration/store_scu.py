"""The PACS as a destination: one association and one C-STORE for each attempt."""

from io import BytesIO
from ssl import SSLContext

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_node.peers import DicomDestination
from dicom_node.requestor import Requestor, no_association, tls_args
from dicom_node.states import DeliveryKind
from dicom_node.tls import words_of
from integration.destinations import NOT_SENT, Ack, Encoded, Outcome
from integration.document import ReportDocument
from integration.objects import encoder

# C-STORE statuses: PS3.4 B.2.3, PS3.7 9.1.1.1.9 and annex C. The last column completes "PACS …".
SUCCESS = 0x0000
UNSPECIFIED_WARNING = 0x0001
ATTRIBUTE_LIST_ERROR = 0x0107
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
ATTRIBUTE_VALUE_OUT_OF_RANGE = 0x0116
SOP_CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORISED = 0x0124
RESOURCE_LIMITATION = 0x0213
OUT_OF_RESOURCES = range(0xA700, 0xA800)
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = range(0xA900, 0xAA00)
ANY_WARNING = range(0xB000, 0xC000)
COERCION_OF_DATA_ELEMENTS = 0xB000
ELEMENTS_DISCARDED = 0xB006
DATA_SET_DIFFERS_FROM_SOP_CLASS = 0xB007
CANNOT_UNDERSTAND = range(0xC000, 0xD000)

SINGLE_STATUSES = {
    SUCCESS: (Outcome.DELIVERED, "stored the report"),
    # The UID is derived from the draft: what is there already is our own, from an attempt whose answer was lost.
    DUPLICATE_SOP_INSTANCE: (Outcome.DELIVERED, "already had the report"),
    UNSPECIFIED_WARNING: (Outcome.DELIVERED, "stored the report with a warning"),
    ATTRIBUTE_LIST_ERROR: (Outcome.DELIVERED, "stored the report with a warning: attributes not recognised"),
    ATTRIBUTE_VALUE_OUT_OF_RANGE: (Outcome.DELIVERED, "stored the report with a warning: a value out of range"),
    COERCION_OF_DATA_ELEMENTS: (Outcome.DELIVERED, "stored the report with a warning: it changed values"),
    ELEMENTS_DISCARDED: (Outcome.DELIVERED, "stored the report with a warning: it left out elements"),
    DATA_SET_DIFFERS_FROM_SOP_CLASS: (
        Outcome.DELIVERED,
        "stored the report with a warning: not as its SOP class demands",
    ),
    PROCESSING_FAILURE: (Outcome.RETRY, "failed while processing the report"),
    RESOURCE_LIMITATION: (Outcome.RETRY, "is short of resources"),
    SOP_CLASS_NOT_SUPPORTED: (Outcome.REJECTED, "does not take objects of this kind"),
    NOT_AUTHORISED: (Outcome.REJECTED, "does not allow this node to store"),
}
STATUS_RANGES = (
    (OUT_OF_RESOURCES, Outcome.RETRY, "is out of resources"),
    (DATA_SET_DOES_NOT_MATCH_SOP_CLASS, Outcome.REJECTED, "found that the report does not match its SOP class"),
    (ANY_WARNING, Outcome.DELIVERED, "stored the report with a warning"),
    (CANNOT_UNDERSTAND, Outcome.REJECTED, "cannot understand the report"),
)

_MEDIUM_PRIORITY = 0  # PS3.7 9.1.1.1.4


class StoreScu:
    """Sends one kind of object to one PACS. Source: PS3.4 B."""

    def __init__(self, destination: DicomDestination, calling_ae: str, kind: DeliveryKind = DeliveryKind.SR) -> None:
        """Raises OSError if the TLS files of the destination cannot be loaded."""
        self.name: str = destination.name
        self.kind = kind
        self._encode = encoder(kind)
        self.timeout_s = destination.timeout_s
        self._destination = destination
        self._calling_ae = calling_ae
        tls_args(destination)  # read for each connection; here to end the start with what is wrong

    def encode(self, document: ReportDocument) -> Encoded:
        return self._encode(document, self._destination)

    def send(self, payload: bytes) -> Ack:
        """Store the Part 10 bytes once.

        The data set goes out as it is; only for a PACS that takes nothing but Implicit VR it is written anew, the same
        way each time. The wait is at most `timeout_s` each for the connection, the association and the answer.
        """
        ae = Requestor(self._calling_ae, timeout_s=self.timeout_s)
        try:
            return self._send(ae, dcmread(BytesIO(payload)))
        finally:
            ae.hang_up()

    def _send(self, ae: Requestor, ds: Dataset) -> Ack:
        try:
            tls = tls_args(self._destination)
        except OSError as error:
            return self._not_sent(f"was not called: this node's certificates make no TLS ({words_of(error)})")
        try:
            assoc = self._associate(ae, ds, tls)
        except OSError:  # before the attempt to connect, whose errors pynetdicom takes for itself
            return self._not_sent("cannot be reached: its host name is unknown, or there is no free socket")
        if not assoc.is_established:
            return self._judge_refusal(ae, assoc)
        try:
            return self._store(assoc, ds)
        finally:
            if assoc.is_established:
                assoc.release()

    def _associate(self, ae: Requestor, ds: Dataset, tls: tuple[SSLContext, str] | None) -> Association:
        to = self._destination
        # A context for each syntax: so Explicit VR, in which we hold the bytes, is used wherever the PACS takes it.
        syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        return ae.associate(
            to.host,
            to.port,
            contexts=[build_context(ds.SOPClassUID, syntax) for syntax in syntaxes],
            ae_title=to.ae_title,
            tls_args=tls,
        )

    def _store(self, assoc: Association, ds: Dataset) -> Ack:
        try:
            response = assoc.send_c_store(ds, priority=_MEDIUM_PRIORITY)
        except RuntimeError:  # pynetdicom: the peer ended the association between its acceptance and our request
            return self._not_sent("ended the association before the report was sent")
        if "Status" not in response:
            return self._ack(Outcome.RETRY, "", f"gave no answer to the report within {self.timeout_s:g} s")
        return self._judge_status(response.Status)

    def _judge_status(self, status: int) -> Ack:
        outcome, words = judge_status(status)
        return self._ack(outcome, f"{status:04X}", f"{words} (status {status:04X})")

    def _judge_refusal(self, ae: Requestor, assoc: Association) -> Ack:
        if assoc.rejected_contexts:
            return self._ack(Outcome.REJECTED, NOT_SENT, "accepts no objects of this kind")
        # A permanent rejection too: an unknown AE title is put right at the PACS, and then the next attempt succeeds.
        return self._not_sent(no_association(ae, assoc, is_tls=bool(self._destination.tls)))

    def _not_sent(self, words: str) -> Ack:
        return self._ack(Outcome.RETRY, NOT_SENT, words)

    def _ack(self, outcome: Outcome, code: str, words: str) -> Ack:
        return Ack(outcome, code, f"{self._destination.ae_title} {words}.")


def judge_status(status: int) -> tuple[Outcome, str]:
    """What a C-STORE status means for the delivery, and words that follow the name of the PACS."""
    if status in SINGLE_STATUSES:
        return SINGLE_STATUSES[status]
    for statuses, outcome, words in STATUS_RANGES:
        if status in statuses:
            return outcome, words
    return Outcome.REJECTED, "refused the report"
