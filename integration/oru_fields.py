"""DICOM values as HL7 2.5.1 data types: CX, XPN, XCN, CE, EI, TS (HL7 2.5.1 §2.A)."""

import textwrap
from datetime import datetime, tzinfo

from pydicom.sr.coding import Code

from integration.escape import escape
from integration.source_header import SourceHeader
from integration.sr_header import parse_offset

MEDICAL_RECORD = "MR"  # HL7 table 0203
NO_IDENTIFIER = "^^^^U"  # CX.5, table 0203, U: unspecified identifier; CX.1 is empty because there is none
NO_NAME = "^^^^^^U"  # XPN.7, table 0200, U: unspecified, as HL7 2.5.1 §3.4.2.5 asks for an unknown name
NAME_REPRESENTATIONS = ("A", "I", "P")  # table 0465: alphabetic, ideographic, phonetic, as the groups of a PN
_NAME_PARTS = 5  # PS3.5 6.2.1
_REASON_WIDTH = 60  # characters: three times as many when all are escaped, still within CE.2's 199


def components(*values: str) -> str:
    """Join escaped components; empty ones at the end are left out."""
    return "^".join(map(escape, values)).rstrip("^")


def patient_identifier(header: SourceHeader) -> str:
    """PID-3, CX. An absent ID is said to be absent; nothing else is put in its place."""
    if not (patient_id := header.text("PatientID")):
        return NO_IDENTIFIER
    issuer = [escape(header.text("IssuerOfPatientID"))]
    for qualifiers in header.items("IssuerOfPatientIDQualifiersSequence")[:1]:
        issuer += [escape(qualifiers.text("UniversalEntityID")), escape(qualifiers.text("UniversalEntityIDType"))]
    return "^".join((escape(patient_id), "", "", "&".join(issuer).rstrip("&"), MEDICAL_RECORD))


def patient_name(name: str) -> str:
    """PID-5, XPN: one repetition for each group of a DICOM name, marked in XPN.8 when there is more than one script."""
    groups = name.split("=", len(NAME_REPRESENTATIONS) - 1)
    given = [(group, code) for group, code in zip(groups, NAME_REPRESENTATIONS, strict=False) if group.strip("^")]
    if not given:
        return NO_NAME
    if tuple(code for _, code in given) == NAME_REPRESENTATIONS[:1]:
        return components(*_name_parts(groups[0]))
    return "~".join(components(*_name_parts(group), "", "", code) for group, code in given)


def person(name: str) -> str:
    """XCN without an ID number: the alphabetic group of a DICOM name; empty if there is none."""
    parts = _name_parts(name.split("=")[0])
    return components("", *parts) if any(parts) else ""


def coded(code: Code) -> str:
    """CE."""
    return components(code.value, code.meaning, code.scheme_designator)


def reason(text: str) -> str:
    """OBR-31, CE repetitions: a component is short, so a long reason takes several."""
    return "~".join(components("", line) for line in textwrap.wrap(text, _REASON_WIDTH))


def timestamp(moment: datetime, zone: tzinfo) -> str:
    """TS with offset."""
    return moment.astimezone(zone).strftime("%Y%m%d%H%M%S%z")


def study_time(header: SourceHeader, zone: tzinfo) -> str:
    """OBR-7, TS: as precise as the image says, in its own offset, else in the site's; a date alone has no offset."""
    date, time = header.text("StudyDate"), header.text("StudyTime").partition(".")[0]
    if len(time) < 4 or not date:  # HL7 wants minutes with the hour
        return date
    offset = header.text("TimezoneOffsetFromUTC")
    local = datetime.strptime(f"{date}{time[:4]}", "%Y%m%d%H%M").replace(
        tzinfo=parse_offset(offset) if offset else zone
    )
    return f"{date}{time}{local.strftime('%z')[:5]}"


def _name_parts(group: str) -> tuple[str, str, str, str, str]:
    """Family, given, middle, suffix, prefix: HL7's order. What follows a fifth part stays with it, escaped."""
    parts = group.split("^", _NAME_PARTS - 1)
    family, given, middle, prefix, suffix = parts + [""] * (_NAME_PARTS - len(parts))
    return family, given, middle, suffix.rstrip("^"), prefix
