"""The answer to a STOW-RS request: HTTP status and Store Instances Response Module (PS3.18 10.5.3, I.2)."""

import json
from collections.abc import Sequence
from typing import NotRequired, TypedDict
from xml.etree import ElementTree

from pydicom.datadict import keyword_for_tag

from dicom_node.receive.intake import OUT_OF_RESOURCES, SUCCESS
from dicom_node.web.upload import Outcome

DICOM_JSON, DICOM_XML = "application/dicom+json", "application/dicom+xml"
OK, ACCEPTED, CONFLICT, SERVICE_UNAVAILABLE = 200, 202, 409, 503  # PS3.18 table 10.5.3-1

# PS3.18 table I.2-1
_RETRIEVE_URL, _FAILURE_REASON = "00081190", "00081197"
_FAILED_SOP_SEQUENCE, _REFERENCED_SOP_SEQUENCE, _OTHER_FAILURES_SEQUENCE = "00081198", "00081199", "0008119A"
_REFERENCED_SOP_CLASS_UID, _REFERENCED_SOP_INSTANCE_UID = "00081150", "00081155"
_NATIVE_DICOM = "http://dicom.nema.org/PS3.19/models/NativeDICOM"  # PS3.19 A.1


class Element(TypedDict):
    """PS3.18 F.2.2"""

    vr: str
    Value: NotRequired[list["str | int | Model"]]


Model = dict[str, Element]  # PS3.18 F.2.1: by tag


def http_status(outcomes: Sequence[Outcome]) -> int:
    """PS3.18 table 10.5.3-1. 503 where nothing was stored for want of room: sent again later, it may be."""
    statuses = [outcome.status for outcome in outcomes]
    if SUCCESS in statuses:
        return OK if set(statuses) == {SUCCESS} else ACCEPTED
    return SERVICE_UNAVAILABLE if OUT_OF_RESOURCES in statuses else CONFLICT


def encode(outcomes: Sequence[Outcome], media_type: str) -> bytes:
    """The module in DICOM_JSON (PS3.18 F.2) or DICOM_XML (PS3.19 A.1)."""
    model = _module(outcomes)
    return json.dumps(model).encode() if media_type == DICOM_JSON else ElementTree.tostring(_native_model(model))


def _module(outcomes: Sequence[Outcome]) -> Model:
    """Without what does not occur; empty is what is not known (we answer no WADO-RS)."""
    stored = [outcome for outcome in outcomes if outcome.status == SUCCESS]
    failed = [outcome for outcome in outcomes if outcome.status != SUCCESS]
    sequences: dict[str, list[Model]] = {
        _FAILED_SOP_SEQUENCE: [_reference(each) | _reason(each) for each in failed if each.announced],
        _REFERENCED_SOP_SEQUENCE: [_reference(each) | {_RETRIEVE_URL: {"vr": "UR"}} for each in stored],
        _OTHER_FAILURES_SEQUENCE: [_reason(each) for each in failed if not each.announced],
    }
    module: Model = {_RETRIEVE_URL: {"vr": "UR"}}
    return module | {tag: {"vr": "SQ", "Value": [*items]} for tag, items in sequences.items() if items}


def _reference(outcome: Outcome) -> Model:
    if outcome.announced is None:
        return {}
    return {
        _REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [outcome.announced.sop_class_uid]},
        _REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [outcome.announced.sop_instance_uid]},
    }


def _reason(outcome: Outcome) -> Model:
    return {_FAILURE_REASON: {"vr": "US", "Value": [outcome.status]}}


def _native_model(model: Model) -> ElementTree.Element:
    root = ElementTree.Element("NativeDicomModel", xmlns=_NATIVE_DICOM)
    _add_attributes(root, model)
    return root


def _add_attributes(parent: ElementTree.Element, model: Model) -> None:
    for tag, element in model.items():
        names = {"tag": tag, "vr": element["vr"], "keyword": keyword_for_tag(int(tag, 16))}
        attribute = ElementTree.SubElement(parent, "DicomAttribute", names)
        for number, value in enumerate(element.get("Value", []), 1):
            _add_value(attribute, str(number), value)


def _add_value(attribute: ElementTree.Element, number: str, value: str | int | Model) -> None:
    if isinstance(value, dict):
        _add_attributes(ElementTree.SubElement(attribute, "Item", number=number), value)
    else:
        ElementTree.SubElement(attribute, "Value", number=number).text = str(value)
