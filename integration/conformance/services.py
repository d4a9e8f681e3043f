"""What the node speaks: network services, transfer syntaxes, refusals, states."""

from collections.abc import Iterable, Iterator, Mapping

from pydicom.charset import python_encoding
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_node import flags, product, states
from dicom_node.config import Settings
from dicom_node.pull.association import COMPRESSED, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, storage_classes
from dicom_node.receive import admission
from dicom_node.receive.availability import INSTANCE_AVAILABILITY_NOTIFICATION
from dicom_node.receive.catalog import RADIOGRAPH_SOP_CLASSES
from dicom_node.receive.commitment import STORAGE_COMMITMENT
from dicom_node.receive.hints import UNCOMPRESSED, hint_sop_classes
from dicom_node.receive.mpps import MODALITY_PERFORMED_PROCEDURE_STEP
from dicom_node.receive.scp import VERIFICATION
from dicom_node.states import DeliveryKind
from integration.conformance.markdown import NONE, table, words_of
from integration.conformance.products import PRODUCTS, Product, takers

Row = tuple[str, ...]

_CHARACTER_SETS = ("ISO_IR", "ISO 2022 IR", "GB")  # pydicom also knows misspellings

_MOVES = {
    "study": states.STUDY_MOVES,
    "job": states.JOB_MOVES,
    "delivery": states.DELIVERY_MOVES,
    "commitment of others' objects": states.COMMITMENT_MOVES,
    "pull": states.PULL_MOVES,
}


def service_facts(settings: Settings) -> Mapping[str, str]:
    rows = [*_provided(settings), *_stored(settings), *_used(settings)]
    return {
        "product": f"`{product.MODEL_NAME}` {product.software_version()} (Manufacturer `{product.MANUFACTURER}`)",
        "services": table(("service", "role", "SOP class", "setting", "as configured"), rows),
        "implementation": f"{PYNETDICOM_IMPLEMENTATION_UID}, {PYNETDICOM_IMPLEMENTATION_VERSION}",
        "states": table(("row", "state", "may become"), _states()),
        "rejections": table(("result/source/reason", "when"), _rejections()),
        "normalized_transfer_syntaxes": _list(each.name for each in UNCOMPRESSED),
        "read_character_sets": _list(each for each in python_encoding if each.startswith(_CHARACTER_SETS)),
        "decodable_transfer_syntaxes": table(("transfer syntax", "UID"), _decodable()),
        "radiograph_sop_classes": _bullets(sorted(RADIOGRAPH_SOP_CLASSES)),
        "get_storage_classes": str(len(storage_classes())),
        "get_compressed_transfer_syntaxes": _bullets(COMPRESSED),
        "flags": table(("flag", "the draft"), flags.WORDS.items()),
    }


def _provided(settings: Settings) -> list[Row]:
    hints = hint_sop_classes(settings.completeness)
    mpps, ian = MODALITY_PERFORMED_PROCEDURE_STEP, INSTANCE_AVAILABILITY_NOTIFICATION
    return [
        ("C-ECHO", "SCP", _class(VERIFICATION), "", "yes"),
        ("C-STORE", "SCP", "all, also private and future ones: any storage-like abstract syntax", "", "yes"),
        ("N-ACTION, N-EVENT-REPORT", "SCP", _class(STORAGE_COMMITMENT), "", "yes"),
        ("N-CREATE, N-SET", "SCP", _class(mpps), "`on_mpps`", words_of(mpps in hints)),
        ("N-CREATE", "SCP", _class(ian), "`on_availability`", words_of(ian in hints)),
    ]


def _stored(settings: Settings) -> Iterator[Row]:
    for each in PRODUCTS:
        for sop_class in each.sop_classes:
            yield "C-STORE", "SCU", _class(sop_class), _setting(each), _list(takers(settings, each, sop_class))


def _setting(each: Product) -> str:
    if each.kind == DeliveryKind.REJECTION:
        return "`rejection_notes`"
    return f"`objects` with `{each.kind}`" + (", `sr_class`" if len(each.sop_classes) > 1 else "")


def _used(settings: Settings) -> list[Row]:
    committing = (each.name for each in settings.pacs if each.commitment)
    asked = (each.name for each in settings.pacs if each.ask_before_sending)
    moved = (each.name for each in settings.sources if each.retrieve == "move")
    got = (each.name for each in settings.sources if each.retrieve == "get")
    return [
        ("N-ACTION, N-EVENT-REPORT", "SCU", _class(STORAGE_COMMITMENT), "`commitment`", _list(committing)),
        ("C-FIND", "SCU", _class(STUDY_ROOT_FIND), "`sources`", _list(each.name for each in settings.sources)),
        ("C-FIND", "SCU", _class(STUDY_ROOT_FIND), "`ask_before_sending`", _list(asked)),
        ("C-MOVE", "SCU", _class(STUDY_ROOT_MOVE), "`sources`, `retrieve`", _list(moved)),
        ("C-GET, and C-STORE as SCP", "SCU", _class(STUDY_ROOT_GET), "`sources`, `retrieve`", _list(got)),
    ]


def _states() -> Iterator[Row]:
    for row, moves in _MOVES.items():
        for state, following in moves.items():
            yield row, state, _list(sorted(following))


def _rejections() -> list[Row]:
    """Each that the module names: one that is added is told, too."""
    known = {each for each in vars(admission).values() if isinstance(each, admission.Rejection)}
    return [("/".join(map(str, each[:3])), each.why) for each in sorted(known)]


def _decodable() -> list[Row]:
    return [(uid.name, uid) for uid in AllTransferSyntaxes if _is_decodable(uid)]


def _is_decodable(transfer_syntax: UID) -> bool:
    try:
        return get_decoder(transfer_syntax).is_available
    except NotImplementedError:
        return False


def _class(uid: str) -> str:
    return f"{UID(uid).name} {uid}"


def _bullets(uids: Iterable[str]) -> str:
    return "\n".join(f"- {UID(each).name}" for each in uids)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or NONE
