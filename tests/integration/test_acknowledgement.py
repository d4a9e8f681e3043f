"""What a sender is answered, in original and enhanced mode."""

from datetime import UTC, datetime

import pytest
from hl7_messages import code_of, fields_of, message

from integration.acknowledgement import (
    REQUIRED_FIELD_MISSING,
    UNSUPPORTED_EVENT,
    Refused,
    acknowledge,
    error,
    rejection,
)
from integration.er7 import read_header

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAULT = error(REQUIRED_FIELD_MISSING, "PID^1^3", "expected a patient identifier")
UNKNOWN = rejection(UNSUPPORTED_EVENT, "MSH^1^9", "expected O01")


def answer(refused: Refused | None = None, **header: str) -> bytes | None:
    return acknowledge(read_header(message("ORM^O01^ORM_O01", control_id="4711", **header)), refused, NOON)


@pytest.mark.parametrize(
    ("accept", "application", "codes"),
    [
        ("", "", ("AA", "AE 101", "AR 201")),
        ("AL", "NE", ("CA", "CE 101", "CR 201")),
        ("AL", "AL", ("CA", "CE 101", "CR 201")),
        ("", "NE", ("CA", "CE 101", "CR 201")),
        ("XX", "", ("CA", "CE 101", "CR 201")),
        ("SU", "", ("CA", "", "")),
        ("ER", "", ("", "CE 101", "CR 201")),
        ("NE", "", ("", "", "")),
        ("NE", "NE", ("", "", "")),
        ("NE", "AL", ("AA", "AE 101", "AR 201")),
        ("NE", "ER", ("", "AE 101", "AR 201")),
    ],
)
def test_the_sender_gets_the_answer_it_asks_for(accept: str, application: str, codes: tuple[str, str, str]) -> None:
    answers = [answer(refused, f15=accept, f16=application) for refused in (None, FAULT, UNKNOWN)]
    assert tuple(map(code_of, answers)) == codes


def test_the_answer_goes_back_to_whoever_sent_with_its_control_id() -> None:
    got = answer(f18="8859/1")
    msh = fields_of(got, "MSH")
    assert msh[1:6] == ["^~\\&", "CXRNODE", "RAD", "RIS", "HOSP"]
    assert (msh[6], msh[8], msh[10], msh[11], msh[17]) == ("20260301120000+0000", "ACK^O01^ACK", "P", "2.5.1", "8859/1")
    assert len(msh[9]) == 20
    assert fields_of(got) == ["MSA", "AA", "4711"]


def test_a_refusal_says_where_and_why() -> None:
    got = answer(FAULT)
    assert fields_of(got) == ["MSA", "AE", "4711", FAULT.words]
    assert fields_of(got, "ERR") == [
        "ERR", "", "PID^1^3", "101^Required field missing^HL70357", "E", "", "", "", FAULT.words,
    ]  # fmt: skip


def test_the_senders_delimiters_and_bytes_come_back() -> None:
    raw = b"MSH#@~\\&#R\xc3\xa4IS#H#N#R#1##ORM@O01#\xe4\xf6#P#2.3\rPID#1\r"
    got = acknowledge(read_header(raw), FAULT, NOON)
    assert got is not None
    assert b"#R\xc3\xa4IS#H#" in got
    assert b"\rMSA#AE#\xe4\xf6#" in got
    assert b"\rERR##PID@1@3#101@Required field missing@HL70357#E#" in got


def test_what_has_no_header_is_answered_too() -> None:
    got = acknowledge(None, UNKNOWN, NOON)
    assert code_of(got) == "AR 201"
    assert fields_of(got, "MSH")[8] == "ACK"


def test_nothing_of_a_header_breaks_the_frame() -> None:
    got = acknowledge(read_header(b"MSH|^~\\&|A\x1c|B\x0b|||1||X^Y\x1c\x0b|7\x1c|P|2.5.1\rPID|1"), None, NOON)
    assert got is not None
    assert not {0x1C, 0x0B} & set(got)
    assert fields_of(got) == ["MSA", "AA", "7"]
