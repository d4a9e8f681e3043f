"""What was sent, as text for people: an HL7 message by its segments, a DICOM object as a list of elements."""

from io import BytesIO

from pydicom import dcmread

from dicom_node.models import Delivery
from dicom_node.pydicom_faults import PARSE_ERRORS, silence_pydicom
from dicom_node.states import MESSAGES


def payload_text(delivery: Delivery) -> str:
    """Empty where nothing was encoded yet."""
    if delivery.payload is None:
        return ""
    return _segments(delivery.payload) if delivery.kind in MESSAGES else _elements(delivery.payload)


def _segments(message: bytes) -> str:
    """A segment ends with CR (HL7 2.5.1, 2.5). What is no UTF-8 is taken for 8859/1, as MSH-18 then mostly says."""
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        text = message.decode("latin-1")
    return text.strip("\r").replace("\r", "\n")


def _elements(part10: bytes) -> str:
    """pydicom's own way to show an object; of what is binary it shows the length."""
    silence_pydicom()
    try:
        return str(dcmread(BytesIO(part10)))
    except PARSE_ERRORS as error:
        return f"The object cannot be shown ({type(error).__name__}); it has {len(part10)} bytes."
