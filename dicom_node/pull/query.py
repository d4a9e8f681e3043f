"""Asking a source what it has: C-FIND as SCU (PS3.4 C.4.1), bounded whatever the source answers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from dicom_node import logs
from dicom_node.errors import PeerBusy, PeerUnreachable, Permanent
from dicom_node.peers import DicomPeer
from dicom_node.pull.association import STUDY_ROOT_FIND, limited, require_context
from dicom_node.pydicom_faults import silence_pydicom
from dicom_node.uids import is_uid

# PS3.4 C.4.1.1.4
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
CANCELLED = 0xFE00

Level = Literal["STUDY", "SERIES", "IMAGE"]
Answer = Mapping[str, str]  # keyword → value as text, several joined by backslashes; empty where the source is silent
Ask = Callable[[Level, Mapping[str, str]], list[Answer]]

MOST_ANSWERS = 5_000
LONGEST_QUERY_S = 300.0
_MESSAGE_ID = 1  # one question at a time
_SPECIFIC_CHARACTER_SET = 0x00080005
_WILD = frozenset("*?\\")  # PS3.4 C.2.2.2; a backslash parts values

_log = logs.get("query")


@dataclass(frozen=True)
class FoundStudy:
    """A study that a source has."""

    study_instance_uid: str
    instance_count: int = 0  # 0: the source does not say, in whatever way it is asked


def find(assoc: Association, source: DicomPeer, level: Level, keys: Mapping[str, str]) -> list[Answer]:
    """What matches the keys: keyword → value, empty for what is only asked back.

    Raises PeerUnreachable without an answer in time, PeerBusy where the source fails, PeerRejected where it offers no
    C-FIND. Of more matches than anybody should ask for, the first are returned, and the source is told to stop.
    """
    require_context(assoc, STUDY_ROOT_FIND, source)
    silence_pydicom()
    with limited(assoc, LONGEST_QUERY_S):
        identifiers = _identifiers(assoc, source, _request(level, keys))
        answers: list[Answer] = [
            {keyword: text_of(each, keyword) for keyword in keys} for each in islice(identifiers, MOST_ANSWERS)
        ]
        if len(answers) == MOST_ANSWERS:
            _log.warning("query_cut_short", source=source.name, count=MOST_ANSWERS)
            with suppress(RuntimeError):  # pynetdicom: it hung up, and there is nothing to stop
                assoc.send_c_cancel(_MESSAGE_ID, query_model=STUDY_ROOT_FIND)
            for _ in identifiers:  # until it has stopped
                pass
    return answers


def exact(value: str, what: str) -> str:
    """The value for single value matching. Raises Permanent for one that would match others too, or everything."""
    if not value.strip():
        raise Permanent(f"{what} is empty, expected a value to look for")
    if _WILD & set(value):
        raise Permanent(f"{what} has one of the characters * ? \\, expected a value that matches nothing else")
    return value.strip()


def studies_by_accession(ask: Ask, accession_number: str) -> list[FoundStudy]:
    """Raises Permanent for a number with wildcards."""
    return _studies(ask, "AccessionNumber", exact(accession_number, "the accession number"))


def studies_by_uid(ask: Ask, study_instance_uid: str) -> list[FoundStudy]:
    """The one study, or none. Raises Permanent for what is no UID."""
    if not is_uid(study_instance_uid):
        raise Permanent("not a Study Instance UID, expected at most 64 digits and single dots")
    return _studies(ask, "StudyInstanceUID", study_instance_uid)


def is_study(answer: Answer) -> bool:
    """Whether an answer names a study."""
    return is_uid(answer["StudyInstanceUID"])


def found_study(ask: Ask, answer: Answer) -> FoundStudy:
    """The study of an answer. Its series are asked, where the source does not count its objects: it need not.

    Source: PS3.4 C.6.2.1.2, C.6.2.1.3.
    """
    uid = answer["StudyInstanceUID"]
    return FoundStudy(uid, _number(answer["NumberOfStudyRelatedInstances"]) or _count(ask, uid))


def _count(ask: Ask, study_instance_uid: str) -> int:
    keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""}
    series = {each["SeriesInstanceUID"]: each for each in ask("SERIES", keys) if is_uid(each["SeriesInstanceUID"])}
    return sum(
        _number(each["NumberOfSeriesRelatedInstances"]) or _count_images(ask, study_instance_uid, uid)
        for uid, each in series.items()
    )


def _count_images(ask: Ask, study_instance_uid: str, series_instance_uid: str) -> int:
    keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid, "SOPInstanceUID": ""}
    return len({each["SOPInstanceUID"] for each in ask("IMAGE", keys)} - {""})


def _number(count: str) -> int:
    return int(count) if count.isdecimal() and len(count) < 9 else 0


def _studies(ask: Ask, keyword: str, value: str) -> list[FoundStudy]:
    """Those that match indeed: what a source adds is left out."""
    answers = ask("STUDY", {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": "", keyword: value})
    return [found_study(ask, each) for each in answers if is_study(each) and each[keyword] == value]


def _identifiers(assoc: Association, source: DicomPeer, request: Dataset) -> Iterator[Dataset]:
    """The identifiers of the pending responses; what cannot be decoded is passed over."""
    for status, identifier in _responses(assoc, source, request):
        if "Status" not in status:
            raise PeerUnreachable(f"{source.ae_title} did not answer the query in time, or ended the association")
        if status.Status in (SUCCESS, CANCELLED):
            return
        if status.Status not in PENDING:
            raise PeerBusy(f"{source.ae_title} answered the query with status {status.Status:04X}")
        if identifier is not None:
            yield identifier


def _responses(assoc: Association, source: DicomPeer, request: Dataset) -> Iterator[tuple[Dataset, Dataset | None]]:
    try:
        yield from assoc.send_c_find(request, STUDY_ROOT_FIND, msg_id=_MESSAGE_ID)
    except RuntimeError as error:  # pynetdicom: the source hung up before the request
        raise PeerUnreachable(f"{source.ae_title} ended the association before the query") from error


def _request(level: Level, keys: Mapping[str, str]) -> Dataset:
    ds = Dataset()
    if not "".join(keys.values()).isascii():
        ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        # Not validated: a range of dates is no date.
        tag = tag_for_keyword(keyword) or 0
        ds.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return ds


def text_of(ds: Dataset, keyword: str) -> str:
    """An element's value as text, empty where it is absent.

    From its bytes: pydicom, when it converts them, logs what it finds wrong, which may be a patient's name.
    """
    charset = _raw(ds, _SPECIFIC_CHARACTER_SET).decode("latin-1").split("\\")[0].strip()
    encoding = python_encoding.get(charset, "latin-1")
    text = _raw(ds, tag_for_keyword(keyword) or 0).decode(encoding, "replace")
    return "\\".join(value.strip("\0 ") for value in text.split("\\"))


def _raw(ds: Dataset, tag: int) -> bytes:
    value = ds.get_item(tag).value if tag in ds else b""
    return value if isinstance(value, bytes) else b""
