"""What the services of normalized objects have in common: attributes taken or refused, every request answered (PS3.7).

Nothing that is refused is quoted: a value that is no UID may be anything, a name too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.dimse_primitives import N_CREATE, N_SET
from pynetdicom.events import Event
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import logs
from dicom_node.errors import Permanent
from dicom_node.pydicom_faults import PARSE_ERRORS, silence_pydicom
from dicom_node.uids import is_uid

# PS3.7 annex C
SUCCESS = 0x0000
INVALID_ATTRIBUTE_VALUE = 0x0106
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
NO_SUCH_SOP_INSTANCE = 0x0112
INVALID_OBJECT_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
MISSING_ATTRIBUTE = 0x0120
MISSING_ATTRIBUTE_VALUE = 0x0121
RESOURCE_LIMITATION = 0x0213
BUSY = (PROCESSING_FAILURE, RESOURCE_LIMITATION)  # a peer that says so may take it later

# Of each its name, and when an N-CREATE or N-SET is answered with it.
STATUSES: Mapping[int, tuple[str, str]] = {
    SUCCESS: ("Success", "its rows are committed"),
    INVALID_ATTRIBUTE_VALUE: (
        "Invalid attribute value",
        "no UID, no value of Performed Procedure Step Status (N-CREATE: not IN PROGRESS) or Instance Availability",
    ),
    PROCESSING_FAILURE: (
        "Processing failure",
        "the data set cannot be parsed; or, with Error ID A710, the Performed Procedure Step is COMPLETED or "
        "DISCONTINUED and may no longer be updated",
    ),
    DUPLICATE_SOP_INSTANCE: ("Duplicate SOP instance", "the Performed Procedure Step was created before"),
    NO_SUCH_SOP_INSTANCE: ("No such SOP instance", "the Performed Procedure Step was not created"),
    INVALID_OBJECT_INSTANCE: ("Invalid object instance", "no SOP Instance UID in the request"),
    NO_SUCH_SOP_CLASS: ("No such SOP class", "the request is not of the SOP class of its presentation context"),
    MISSING_ATTRIBUTE: ("Missing attribute", "an attribute of type 1 is absent; N-SET with nothing to set"),
    MISSING_ATTRIBUTE_VALUE: ("Missing attribute value", "an attribute of type 1 is empty"),
    RESOURCE_LIMITATION: ("Resource limitation", "the database cannot take it: send again"),
}

_UNDEFINED_LENGTH = 0xFFFFFFFF  # PS3.5 7.1.3
_LONGEST_COMMENT = 64  # (0000,0902), VR LO

_log = logs.get("normalized")


@dataclass(frozen=True)
class Request:
    """An N-CREATE or N-SET."""

    calling_ae: str
    sop_instance_uid: str
    attributes: Dataset  # the Attribute List, or the Modification List


Service = Callable[[Request], None]  # returns when all is durable; raises Refused


class Refused(Permanent):
    """A request that is answered with a failure. The words are told to the peer."""

    def __init__(self, status: int, words: str, *, error_id: int | None = None, trace: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.error_id = error_id  # (0000,0903)
        self.trace = trace  # for the log: where it came from


def make_handler(services: Mapping[str, Service]) -> Callable[[Event], tuple[Dataset, None]]:
    """The handler of N-CREATE or N-SET; services by the SOP class that the presentation context was negotiated for."""
    silence_pydicom()

    def handle(event: Event) -> tuple[Dataset, None]:
        service = services.get(str(event.context.abstract_syntax), _no_service)
        return _answer(lambda: service(_request(event)), event.assoc.requestor.ae_title.strip()), None

    return handle


def text(ds: Dataset, keyword: str) -> str:
    """The value of an attribute of type 1 (PS3.5 7.4.1)."""
    if keyword not in ds:
        raise Refused(MISSING_ATTRIBUTE, f"{keyword} is missing")
    value = ds.get_item(keyword).value  # the bytes received: pydicom's conversions quote what they do not like
    received = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    if not received.strip(" \0"):
        raise Refused(MISSING_ATTRIBUTE_VALUE, f"{keyword} is empty")
    return received.strip(" \0")


def uid(ds: Dataset, keyword: str) -> str:
    """The UID in an attribute of type 1."""
    value = text(ds, keyword)
    if not is_uid(value):
        raise Refused(INVALID_ATTRIBUTE_VALUE, f"{keyword} is not a UID")
    return value


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence of type 2: none if it is empty or absent."""
    value = ds.get(keyword) or []
    if not isinstance(value, Sequence | list):
        raise Refused(INVALID_ATTRIBUTE_VALUE, f"{keyword} is not a sequence")
    return list(value)


def some_items(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence of type 1: one at least."""
    found = items(ds, keyword)
    if not found:
        status = MISSING_ATTRIBUTE_VALUE if keyword in ds else MISSING_ATTRIBUTE
        raise Refused(status, f"{keyword} has no item")
    return found


def _request(event: Event) -> Request:
    if isinstance(event.request, N_SET):
        named, attributes = event.request.RequestedSOPInstanceUID, event.modification_list
    else:
        named, attributes = cast(N_CREATE, event.request).AffectedSOPInstanceUID, event.attribute_list
    if not is_uid(named or ""):
        raise Refused(INVALID_OBJECT_INSTANCE, "SOP Instance UID is missing or not a UID")
    if any(_is_cut_short(element) for element in attributes.values()):
        raise Refused(PROCESSING_FAILURE, "data set ends within an element")
    return Request(event.assoc.requestor.ae_title.strip(), str(named), attributes)


def _is_cut_short(element: DataElement | RawDataElement) -> bool:
    """pydicom takes the last element for what there is of it."""
    return isinstance(element, RawDataElement) and len(element.value or b"") < element.length < _UNDEFINED_LENGTH


def _no_service(_: Request) -> None:
    raise Refused(NO_SUCH_SOP_CLASS, "no such service for this SOP class")


def refusal(serve: Callable[[], None]) -> Refused | None:
    """Serve a request. Returns with what it is refused; None: all is durable."""
    try:
        serve()
    except Refused as error:
        return error
    except SQLAlchemyError as error:
        return Refused(RESOURCE_LIMITATION, "try again later", trace=logs.places(error))
    except PARSE_ERRORS as error:
        return Refused(PROCESSING_FAILURE, "data set cannot be read", trace=logs.places(error))
    return None


def _answer(serve: Callable[[], None], calling_ae: str) -> Dataset:
    failure = refusal(serve)
    if failure is None:
        return _status(SUCCESS)
    status, words = f"{failure.status:04X}", str(failure)
    _log.warning("request_refused", calling_ae=calling_ae, status=status, error=words, trace=failure.trace)
    return _status(failure.status, ErrorComment=words[:_LONGEST_COMMENT], ErrorID=failure.error_id)


def _status(status: int, **elements: str | int | None) -> Dataset:
    response = Dataset()
    response.Status = status
    for keyword, value in elements.items():
        if value is not None:
            setattr(response, keyword, value)
    return response
