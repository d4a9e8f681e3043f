from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from report_samples import (
    CHECKS,
    FINDINGS,
    FLAGS,
    PACS,
    RIS,
    SHARED,
    SYNTHETIC_MODEL,
    SYNTHETIC_OPENING,
    as_received,
    make_code,
    make_document,
    make_header,
    make_request,
    read_leniently,
    read_real,
)

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from dicom_node.product import DISCLAIMER
from integration.document import ReportDocument
from integration.history import text_rows
from integration.oru import build_oru, encode_oru
from integration.oru_cancellation import encode_cancellation
from integration.oru_fields import patient_name, person, study_time
from integration.oru_gate import check_oru
from integration.report_text import split_lines
from integration.source_header import SourceHeader
from integration.sr_identity import sr_sop_instance_uid
from integration.structured_report import encode_sr

TEXTS = st.text(st.one_of(st.sampled_from("|^~\\&\r\n\t\x0b\x1cEFSTRäöß山"), st.characters(exclude_categories=())))
FOLDER = SHARED / "data" / "cxr_dicom"
FILMS = sorted(FOLDER.glob("*.dcm")) or [
    pytest.param(None, marks=pytest.mark.skip(reason=f"{FOLDER} is absent: the published films are not in the project"))
]
R_SITE = MllpDestination(name="ris2", host="127.0.0.1", result_status="R")


def _message(destination: MllpDestination = RIS, /, **header: object) -> hl7.Message:
    document = make_document(as_received(make_header(**header)))
    return hl7.parse(encode_oru(document, destination).payload.decode())


def _field(message: hl7.Message, segment: str, number: int) -> str:
    found = message.segment(segment)
    return str(found(number)) if number < len(found) else ""


def _texts(message: hl7.Message) -> list[str]:
    return [message.unescape(str(row(5))) for row in message.segments("OBX") if str(row(2)) == "TX"]


# What it says


def test_segments_come_in_the_order_of_the_standard() -> None:
    message = _message()
    assert [str(segment(0)) for segment in message] == ["MSH", "PID", "PV1", "ORC", "OBR", "TQ1"] + ["OBX"] * 5


def test_message_header() -> None:
    message = _message()
    values = {n: _field(message, "MSH", n) for n in (3, 4, 5, 6, 7, 9, 11, 12, 18)}
    assert values == {
        3: "CXRNODE",
        4: "RADIOLOGY",
        5: "RIS",
        6: "HOSPITAL",
        7: "20260801123000+0200",
        9: "ORU^R01^ORU_R01",
        11: "P",
        12: "2.5.1",
        18: "UNICODE UTF-8",
    }


def test_patient_is_that_of_the_image() -> None:
    message = _message()
    fields = [_field(message, "PID", n) for n in (3, 5, 7, 8)]
    assert fields == ["P0001^^^HOSP^MR", "CANARY^PHI", "19600102", "F"]


def test_order_comes_from_the_request_of_the_image() -> None:
    message = _message(RequestAttributesSequence=[make_request()])
    assert [_field(message, "ORC", n) for n in (1, 2, 3, 5)] == ["RE", "PLC1", "FIL1", "IP"]
    fields = {n: _field(message, "OBR", n) for n in (2, 3, 4, 7, 18, 19, 20, 44)}
    assert fields == {
        2: "PLC1",
        3: "FIL1",
        4: "36643-5^XR Chest 2 Views^LN",
        7: "20260801101500+0200",
        18: "ACC0001",
        19: "RP1",
        20: "SPS1",
        44: "36643-5^XR Chest 2 Views^LN",
    }


def test_without_a_request_the_accession_number_is_the_filler_number() -> None:
    message = _message()
    assert [_field(message, "OBR", n) for n in (2, 3, 18)] == ["", "ACC0001", "ACC0001"]


def test_without_a_procedure_code_no_view_count_is_claimed() -> None:
    message = _message()
    assert [_field(message, "OBR", n) for n in (4, 44)] == ["18748-4^Diagnostic Imaging Report^LN", ""]


def test_performed_procedure_wins_over_the_requested_one() -> None:
    message = _message(
        RequestAttributesSequence=[make_request()], ProcedureCodeSequence=[make_code("CXR", "99SITE", "Chest & ribs")]
    )
    assert _field(message, "OBR", 4) == "CXR^Chest \\T\\ ribs^99SITE"


def test_text_begins_with_the_disclaimer_and_has_a_row_for_each_line() -> None:
    assert _texts(_message()) == [DISCLAIMER, *filter(None, FINDINGS.split("\n"))]
    rows = [row for row in _message().segments("OBX") if str(row(2)) == "TX"]
    assert [str(row(4)) for row in rows] == ["1", "2", "3"]


def test_a_line_of_findings_may_be_longer_than_an_st() -> None:
    """LLaVA-Rad writes its findings as one paragraph."""
    paragraph = " ".join(["No effusion & no | pneumothorax on the right."] * 20)
    message = hl7.parse(encode_oru(make_document(findings=paragraph), RIS).payload.decode())
    assert _texts(message) == [DISCLAIMER, paragraph]


def test_what_to_check_comes_after_the_findings_which_stay_as_they_are() -> None:
    message = hl7.parse(encode_oru(make_document(flags=FLAGS), RIS).payload.decode())
    assert _texts(message) == [DISCLAIMER, *filter(None, FINDINGS.split("\n")), *CHECKS]
    rows = [row for row in message.segments("OBX") if str(row(2)) == "TX"]
    assert [str(row(4)) for row in rows] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("text_type", ["TX", "FT", "ED"])
def test_rows_that_a_longer_draft_has_left_are_deleted(text_type: str) -> None:
    """A RIS that writes over rows of the same OBX-3 and OBX-4 would show them under this draft."""
    destination = RIS.model_copy(update={"text_type": text_type})
    payload = encode_oru(make_document(rows_sent=6), destination).payload
    rows = [row for row in hl7.parse(payload.decode()).segments("OBX") if str(row(2)) == text_type]
    assert [str(row(4)) for row in rows] == ["1", "2", "3", "4", "5", "6"]
    standing = [str(row(11)) for row in rows].index("D")
    assert all((str(row(5)) != "", str(row(11))) == (True, "P") for row in rows[:standing])
    assert all((str(row(5)), str(row(11))) == ("", "D") for row in rows[standing:])
    assert [text_rows(payload), text_rows(b"MSH|")] == [6, 0]


def test_text_of_a_synthetic_model_begins_with_that() -> None:
    message = hl7.parse(encode_oru(make_document(model=SYNTHETIC_MODEL), RIS).payload.decode())
    assert _texts(message)[0] == f"{SYNTHETIC_OPENING} {DISCLAIMER}"


def test_study_and_sr_are_named() -> None:
    document = make_document()
    rows = {str(row(3)(0)(0)): str(row(5)) for row in _message().segments("OBX") if str(row(2)) == "ST"}
    assert rows == {"113014": make_header().StudyInstanceUID, "SR_UID": sr_sop_instance_uid(document)}
    assert rows["SR_UID"] == encode_sr(document, PACS).identifier


def test_an_sr_that_no_pacs_gets_is_not_named() -> None:
    document = make_document(has_sr=False)
    for payload in (encode_oru(document, RIS).payload, encode_cancellation(_withdrawn(document), RIS).payload):
        assert b"SR_UID" not in payload


def _withdrawn(document: ReportDocument) -> ReportDocument:
    return replace(document, withdrawn_at=document.drafted_at)


@pytest.mark.parametrize("destination", [RIS, R_SITE])
def test_status_is_the_same_in_order_and_results(destination: MllpDestination) -> None:
    message = _message(destination)
    status = destination.result_status
    assert _field(message, "OBR", 25) == status
    assert [str(row(11)) for row in message.segments("OBX")] == ["O", status, status, status, "O"]


def test_no_person_answers_for_it() -> None:
    message = _message()
    assert _field(message, "OBR", 32) == ""
    for row in message.segments("OBX"):
        assert str(row(16)) == ""
        assert str(row(15)) == "CXRNODE^AI device^L"
        assert str(row(17)) == "LLaVA-Rad^LLaVA-Rad 1.0.0^L"


def test_long_reason_takes_several_repetitions() -> None:
    reason = "Shortness of breath | fever & chills since yesterday, known COPD, to exclude pneumonia. " * 5
    payload = encode_oru(make_document(indication=reason), RIS).payload.decode()
    message = hl7.parse(payload)
    parts = [message.unescape(str(part(2))) for part in message.segment("OBR")(31)]
    assert " ".join(parts) == reason.strip()


# Patients and orders that are not there


@pytest.mark.parametrize(
    ("header", "pid_3", "pid_5"),
    [
        ({"PatientID": None}, "^^^^U", "CANARY^PHI"),
        ({"PatientID": "", "IssuerOfPatientID": "HOSP"}, "^^^^U", "CANARY^PHI"),
        ({"PatientName": None}, "P0001^^^HOSP^MR", "^^^^^^U"),
        ({"PatientName": "^^^^"}, "P0001^^^HOSP^MR", "^^^^^^U"),
        ({"IssuerOfPatientID": None}, "P0001^^^^MR", "CANARY^PHI"),
    ],
)
def test_absent_identity_is_said_to_be_absent(header: dict[str, object], pid_3: str, pid_5: str) -> None:
    message = _message(**header)
    assert (_field(message, "PID", 3), _field(message, "PID", 5)) == (pid_3, pid_5)


def test_hl7apy_would_not_take_an_empty_patient_identifier() -> None:
    """Why PID-3 is `^^^^U` and not empty; when this fails, think again."""
    message = build_oru(make_document(make_header(PatientID=None)), RIS).replace("PID|1||^^^^U|", "PID|1|||")
    with pytest.raises(Exception, match="PID_3"):
        parse_message(message, validation_level=VALIDATION_LEVEL.STRICT).validate()


def test_film_without_patient_id_is_matched_by_its_accession_number() -> None:
    path = FOLDER / "panimg_CR-MONO1-10-chest.dcm"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    message = hl7.parse(encode_oru(make_document(read_real(path)), RIS).payload.decode())
    assert _field(message, "OBR", 18) == "FUJI95714"
    assert _field(message, "PID", 3) == "^^^^U"


@pytest.mark.parametrize("path", FILMS, ids=str)
def test_every_real_film_gives_one_message(path: Path) -> None:
    message = hl7.parse(encode_oru(make_document(read_real(path)), RIS).payload.decode())
    assert _field(message, "PID", 3).split("^")[0] == read_leniently(path, "PatientID")
    assert _field(message, "OBR", 18) == read_leniently(path, "AccessionNumber")
    assert str(message.segments("OBX")[0](5)) == read_leniently(path, "StudyInstanceUID")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Doe^Jane^Q^Dr^Jr", "Doe^Jane^Q^Jr^Dr"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou^^^^^^A~山田^太郎^^^^^^I~やまだ^たろう^^^^^^P"),
        ("=山田^太郎", "山田^太郎^^^^^^I"),
        ("A^B^C^D^E^F", "A^B^C^E\\S\\F^D"),
        ("O|Brien^A&B", "O\\F\\Brien^A\\T\\B"),
        ("", "^^^^^^U"),
    ],
)
def test_name(name: str, field: str) -> None:
    assert patient_name(name) == field


def test_referring_physician_has_no_id() -> None:
    assert person("Ref^Erring") == "^Ref^Erring"
    assert person("^^^^") == ""


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, "20260801101500+0200"),
        ({"StudyTime": "1015"}, "202608011015+0200"),
        ({"StudyTime": "101500.123456"}, "20260801101500+0200"),
        ({"StudyTime": "10"}, "20260801"),
        ({"StudyTime": None}, "20260801"),
        ({"StudyDate": None}, ""),
        ({"StudyDate": "20260101"}, "20260101101500+0100"),
        ({"TimezoneOffsetFromUTC": "-0530"}, "20260801101500-0530"),
        ({"StudyDate": "18800101"}, "18800101101500+0053"),
    ],
)
def test_study_time(header: dict[str, object], expected: str) -> None:
    assert study_time(SourceHeader.of(make_header(**header)), make_document().time_zone) == expected


# Stable identifiers


def test_equal_documents_give_equal_bytes() -> None:
    first = encode_oru(make_document(as_received(make_header())), RIS)
    assert encode_oru(make_document(as_received(make_header())), RIS) == first


def test_control_id_names_the_draft_and_the_destination() -> None:
    document = make_document()
    encoded = encode_oru(document, RIS)
    assert encoded.identifier == encode_oru(document, RIS).identifier
    assert hl7.parse(encoded.payload.decode()).segment("MSH")(10) == [encoded.identifier]
    redrafted = replace(document, drafted_at=document.drafted_at + timedelta(microseconds=1))
    others = [
        encode_oru(document, R_SITE),
        encode_oru(make_document(revision=2), RIS),
        encode_oru(redrafted, RIS),
        encode_oru(replace(document, node_name="OTHERNODE"), RIS),
    ]
    assert len({encoded.identifier, *(each.identifier for each in others)}) == 5


# Round trips


@settings(deadline=None)
@given(findings=TEXTS, indication=TEXTS, name=TEXTS, patient_id=TEXTS)
@example(findings="", indication="", name="\u3000^\xa0=", patient_id="")  # blanks that hl7apy takes for nothing
def test_text_comes_back_as_it_was_written(findings: str, indication: str, name: str, patient_id: str) -> None:
    """The gate compares the patient; python-hl7 reads the text independently."""
    evidence = make_header(SpecificCharacterSet="ISO_IR 192")
    evidence[0x00100010] = _unchecked(0x00100010, "PN", name[:20].encode("utf-8", "ignore"))
    evidence[0x00100020] = _unchecked(0x00100020, "LO", patient_id[:20].encode("utf-8", "ignore"))
    document = make_document(evidence, findings=f"x{findings}x", indication=indication)
    payload = encode_oru(document, RIS).payload
    assert not {0x0B, 0x1C, 0x0A} & set(payload)
    expected = [line for line in split_lines(document.findings) if line]
    assert _texts(hl7.parse(payload.decode())) == [DISCLAIMER, *expected]


def _unchecked(tag: int, vr: str, value: bytes) -> RawDataElement:
    return RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True)


# The gate


@pytest.mark.parametrize("status", ["F", "C", "A", "X", "O", ""])
def test_other_statuses_are_refused(status: str) -> None:
    destination = MllpDestination.model_construct(**(RIS.model_dump() | {"result_status": status}))
    with pytest.raises(InvalidOutput, match="OBR-25"):
        build_oru(make_document(), destination)
    payload = build_oru(make_document(), RIS).replace("|P|||", f"|{status}|||").encode()
    with pytest.raises(InvalidOutput):
        check_oru(payload, make_document(), destination)


@pytest.mark.parametrize("field", ["findings", "disclaimer"])
@pytest.mark.parametrize("text", ["", " \r\n\t", "\x00\x0b"])
def test_without_text_there_is_no_message(field: str, text: str) -> None:
    with pytest.raises(InvalidOutput, match=field):
        encode_oru(make_document(**{field: text}), RIS)


def test_without_a_study_there_is_no_message() -> None:
    with pytest.raises(InvalidOutput, match="StudyInstanceUID"):
        encode_oru(make_document(make_header(StudyInstanceUID=None)), RIS)


def test_times_are_local_with_their_offset() -> None:
    winter = make_document(drafted_at=datetime(2026, 1, 1, 23, 30, tzinfo=UTC))
    assert _field(hl7.parse(build_oru(winter, RIS)), "OBR", 22) == "20260102003000+0100"
