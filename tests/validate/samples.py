"""Drafts of every published film and character-set file, and every kind of object and message that is made of them."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path

from films import dx_bytes
from page_samples import TWO_MAPS
from pydicom import dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian
from report_samples import FLAGS, LABELS, SHARED, SYNTHETIC_MODEL, make_document

from dicom_node.errors import InvalidHeader, InvalidOutput
from dicom_node.models import Delivery
from dicom_node.peers import DicomDestination, MllpDestination
from dicom_node.receive.header import read_header
from dicom_node.states import DeliveryKind
from integration.destinations import Encoded
from integration.document import Predecessor, ReportDocument
from integration.history import read_sent
from integration.objects import encoder
from integration.oru import encode_oru
from integration.oru_cancellation import encode_cancellation
from integration.sr_header import SR_CLASSES

FOLDERS = ("cxr_dicom", "charset")
VERSIONS, TEXT_TYPES = ("2.3.1", "2.4", "2.5.1"), ("TX", "FT", "ED")
_PIXEL_MODULE = 0x0028
_PACS = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1")
_RIS = MllpDestination(name="ris", host="127.0.0.1")
_MORNING = datetime(2026, 8, 1, 6, 15, tzinfo=UTC)
_BEFORE = Predecessor(1, _MORNING, SR_CLASSES["basic"], "1.2.826.0.1.1", "1.2.826.0.1.2")
# The first stays in the character set of the film; what the later one says forces UTF-8 on most.
_DRAFTS: Mapping[str, dict[str, object]] = {
    "draft": {"findings": "The heart size is normal. No pleural effusion."},
    "correction": {
        "findings": "Größe ≤ 3 mm.\n\nNo \\effusion^ | & ~.",
        "flags": FLAGS,
        "model": SYNTHETIC_MODEL,
        "revision": 2,
        "predecessor": _BEFORE,
    },
}


@dataclass(frozen=True)
class Draft:
    """A draft of a published file."""

    source: str  # folder/file
    stage: str  # draft or correction
    document: ReportDocument


@dataclass(frozen=True)
class Made:
    """What the node made of a draft for somebody else, or its words why it refuses."""

    kind: str
    draft: Draft
    payload: bytes = b""
    refusal: str = ""


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((SHARED / "data" / folder).glob("*.dcm"))]


def refusal_on_arrival(path: Path) -> str:
    """Why no draft is ever made of a file; empty if one may be."""
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # what is odd in it is the point of the file
        try:
            read_header(file)
        except InvalidHeader as error:
            return str(error)
    return ""


def drafts(path: Path, folder: Path) -> Iterator[Draft]:
    """folder: for images of files that have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _with_pixels(path, folder)
        evidence = dcmread(image, stop_before_pixels=True)
    for stage, changes in _DRAFTS.items():
        document = make_document(evidence, image=image, labels=LABELS, attention=TWO_MAPS, **changes)
        yield Draft(f"{path.parent.name}/{path.name}", stage, document)


def objects(draft: Draft) -> Iterator[Made]:
    """Every object for a PACS, and the note that rejects them all."""
    made = [_make(kind, draft, encode) for kind, encode in _OBJECTS.items()]
    yield from made
    sent = tuple(read_sent(Delivery(payload=each.payload)) for each in made if each.payload)
    withdrawn = replace(draft.document, sent=sent, withdrawn_at=datetime(2026, 8, 2, tzinfo=UTC))
    yield _make("rejection note", replace(draft, document=withdrawn), partial(_object, DeliveryKind.REJECTION, _PACS))


def messages(draft: Draft) -> Iterator[Made]:
    """Every message for a RIS: the draft and its cancelling, in every version and type of text."""
    withdrawn = replace(draft, document=replace(draft.document, withdrawn_at=datetime(2026, 8, 2, tzinfo=UTC)))
    for version in VERSIONS:
        for text_type in TEXT_TYPES:
            to = _RIS.model_copy(update={"version": version, "text_type": text_type})
            yield _make(f"ORU {draft.stage}, {version}", draft, partial(encode_oru, destination=to))
            yield _make(f"ORU cancellation, {version}", withdrawn, partial(encode_cancellation, destination=to))


def _make(kind: str, draft: Draft, encode: Callable[[ReportDocument], Encoded]) -> Made:
    try:
        return Made(kind, draft, encode(draft.document).payload)
    except InvalidOutput as error:
        return Made(kind, draft, refusal=str(error))


def _object(kind: DeliveryKind, to: DicomDestination, document: ReportDocument) -> Encoded:
    return encoder(kind)(document, to)


_OBJECTS: Mapping[str, Callable[[ReportDocument], Encoded]] = {
    **{
        f"SR, {name}": partial(_object, DeliveryKind.SR, _PACS.model_copy(update={"sr_class": name}))
        for name in SR_CLASSES
    },
    "SR, findings (TID 1500)": partial(_object, DeliveryKind.FINDINGS, _PACS),
    "PDF": partial(_object, DeliveryKind.PDF, _PACS),
    "page": partial(_object, DeliveryKind.PAGE, _PACS),
    "GSPS": partial(_object, DeliveryKind.GSPS, _PACS),
}


def _with_pixels(path: Path, folder: Path) -> Path:
    """The file, or where it is only a header, that header with a film of ours."""
    ds = dcmread(path)
    if "PixelData" in ds:
        return path
    for element in dcmread(BytesIO(dx_bytes())):
        if element.tag.group == _PIXEL_MODULE or element.keyword == "PixelData":
            ds[element.tag] = element
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    copy = folder / f"{path.stem}-with-pixels.dcm"
    dcmwrite(copy, ds, implicit_vr=False, little_endian=True)
    return copy
