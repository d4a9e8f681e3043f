"""Content items of an SR tree, by value type (PS3.3 C.17.3)."""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from dicom_node.product import MANUFACTURER
from integration.source_header import SourceHeader
from integration.sr_element import code_item, make_item, put
from integration.sr_header import image_reference
from integration.sr_identity import Device

LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")  # TID 1204
ENGLISH = Code("en-US", "RFC5646", "English (United States)")  # CID 5000
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")  # TID 1002
DEVICE = Code("121007", "DCM", "Device")  # CID 270
DEVICE_UID = Code("121012", "DCM", "Device Observer UID")  # TID 1004
DEVICE_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")
SOURCE = Code("121112", "DCM", "Source of Measurement")  # CID 7003, 7551

CONTAINS = "CONTAINS"  # (0040,A010)
MODIFIER = "HAS CONCEPT MOD"
INFERRED = "INFERRED FROM"
_CONTEXT = "HAS OBS CONTEXT"


def describe_root(target: Dataset, *, title: Code, template: str, items: Iterable[Dataset]) -> None:
    """Write the root container, which is the data set itself. template: of PS3.16."""
    put(target, "ValueType", "CONTAINER")
    put(target, "ConceptNameCodeSequence", [code_item(title)])
    put(target, "ContinuityOfContent", "SEPARATE")
    identification = make_item(MappingResource="DCMR", TemplateIdentifier=template)
    put(target, "ContentTemplateSequence", [identification])
    put(target, "ContentSequence", items)


def language() -> Dataset:
    """Source: PS3.16 TID 1204."""
    return code(LANGUAGE, ENGLISH, relationship=MODIFIER)


def observer(device: Device, name: str) -> list[Dataset]:
    """The device that says what follows. Source: PS3.16 TID 1002, TID 1004."""
    return [
        code(OBSERVER_TYPE, DEVICE, relationship=_CONTEXT),
        _uid(DEVICE_UID, device.uid, relationship=_CONTEXT),
        text(DEVICE_NAME, name, relationship=_CONTEXT),
        text(DEVICE_MANUFACTURER, MANUFACTURER, relationship=_CONTEXT),
        text(DEVICE_MODEL, device.model_name, relationship=_CONTEXT),
        text(DEVICE_SERIAL, device.digest, relationship=_CONTEXT),
    ]


def container(name: Code, items: Iterable[Dataset]) -> Dataset:
    item = _named("CONTAINER", name, relationship=CONTAINS)
    put(item, "ContinuityOfContent", "SEPARATE")
    put(item, "ContentSequence", items)
    return item


def text(name: Code, value: str, *, relationship: str = CONTAINS) -> Dataset:
    item = _named("TEXT", name, relationship=relationship)
    put(item, "TextValue", value)
    return item


def code(name: Code, value: Code, *, relationship: str) -> Dataset:
    item = _named("CODE", name, relationship=relationship)
    put(item, "ConceptCodeSequence", [code_item(value)])
    return item


def image(source: SourceHeader, *, relationship: str) -> Dataset:
    """The image that was drafted."""
    item = _named("IMAGE", SOURCE, relationship=relationship)
    put(item, "ReferencedSOPSequence", [image_reference(source)])
    return item


def _uid(name: Code, value: UID, *, relationship: str) -> Dataset:
    item = _named("UIDREF", name, relationship=relationship)
    put(item, "UID", value)
    return item


def _named(value_type: str, name: Code, *, relationship: str) -> Dataset:
    return make_item(RelationshipType=relationship, ValueType=value_type, ConceptNameCodeSequence=[code_item(name)])
