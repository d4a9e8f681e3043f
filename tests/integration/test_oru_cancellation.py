"""The message that takes a withdrawn draft back."""

import re
from datetime import UTC, datetime

import hl7
import pytest
from report_samples import FINDINGS, FLAGS, RIS, make_document
from test_oru_profiles import TEXT_TYPES, VERSIONS, field, parsed, ris, text_of

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from integration.document import ReportDocument
from integration.history import text_rows
from integration.order_numbers import OrderNumbers, numbers_in
from integration.oru import encode_oru
from integration.oru_cancellation import build_cancellation, encode_cancellation
from integration.oru_gate import check_cancellation, check_oru

WITHDRAWN_AT = datetime(2026, 8, 1, 14, tzinfo=UTC)
WORDS = "WITHDRAWN: the AI draft of 2026-08-01 12:30:00 +0200 is not to be used."


def withdrawn(**changes: object) -> ReportDocument:
    return make_document(**{"flags": FLAGS, "withdrawn_at": WITHDRAWN_AT, **changes})


def cancelled(destination: MllpDestination = RIS, document: ReportDocument | None = None) -> hl7.Message:
    document = document or withdrawn(rows_sent=text_rows(encode_oru(withdrawn(), destination).payload))
    return hl7.parse(encode_cancellation(document, destination).payload.decode())


@pytest.mark.parametrize("text_type", TEXT_TYPES)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_deletes_each_row_of_the_draft_and_says_so_in_words(version: str, text_type: str) -> None:
    destination = ris(version=version, text_type=text_type)
    draft, message = parsed(destination, withdrawn()), cancelled(destination)
    before = [(str(row(3)), str(row(4))) for row in draft.segments("OBX")]
    after = [(str(row(3)), str(row(4))) for row in message.segments("OBX")]
    assert after[: len(before)] == before
    assert text_of(message, destination)[0] == WORDS
    assert not any(text_of(message, destination)[1:])
    count = len(before)
    assert [str(row(11)) for row in message.segments("OBX")] == ["O", *["D"] * (count - 1), "O"]


def test_the_order_stands_and_has_no_result() -> None:
    message = cancelled()
    assert field(message, "OBR", 25) == "I"
    assert [field(message, "ORC", number) for number in (1, 2, 3, 5)] == ["RE", "", "ACC0001", "IP"]
    assert field(message, "OBR", 18) == "ACC0001"


def test_it_names_the_message_that_it_cancels_and_is_another_one() -> None:
    message = cancelled()
    draft = encode_oru(withdrawn(), RIS).identifier
    assert str(message.segments("OBX")[-1](5)) == draft
    assert field(message, "MSH", 10) == encode_cancellation(withdrawn(), RIS).identifier != draft


def test_it_is_of_the_time_of_the_withdrawal() -> None:
    message = cancelled()
    assert field(message, "MSH", 7) == field(message, "OBR", 22) == "20260801160000+0200"


@pytest.mark.parametrize("text_type", TEXT_TYPES)
def test_nothing_of_the_findings_is_in_it(text_type: str) -> None:
    payload = encode_cancellation(withdrawn(), ris(text_type=text_type)).payload.decode()
    assert all(line not in payload for line in FINDINGS.split("\n") if line)


@pytest.mark.parametrize("text_type", TEXT_TYPES)
def test_rows_of_a_longer_draft_before_are_deleted_too(text_type: str) -> None:
    """Also of one that was sent when the RIS still took a row for each line."""
    destination = ris(text_type=text_type)
    message = cancelled(destination, withdrawn(rows_sent=20))
    rows = [(str(row(4)), str(row(5))) for row in message.segments("OBX") if str(row(2)) == text_type]
    assert [number for number, _ in rows] == [str(number) for number in range(1, 21)]
    assert not any(value for _, value in rows[1:])


def test_equal_documents_give_equal_bytes() -> None:
    assert encode_cancellation(withdrawn(), RIS) == encode_cancellation(withdrawn(), RIS)


def test_a_draft_that_stands_is_not_cancelled() -> None:
    with pytest.raises(InvalidOutput, match="not withdrawn"):
        encode_cancellation(make_document(), RIS)


DAMAGES = {
    "a result": ("OBR-25", r"\|RAD\|I", "|RAD|P"),
    "cancelled order": ("OBR-25", r"\|RAD\|I", "|RAD|X"),
    "a row that stands": ("OBX-11", r"\|D\|", "|P|"),
    "a corrected row": ("OBX-11", r"\|D\|", "|C|"),
    "findings": ("OBX-5, findings", r"LN\|2\|", "LN|2|No effusion."),
    "no words": ("OBX-5, withdrawal", re.escape(WORDS), ""),
    "other words": ("OBX-5, withdrawal", "WITHDRAWN", "FINAL"),
    "other message": ("OBX-5, message", r"(MSG_ID[^|]*\|1\|)\w+", r"\1OTHER"),
    "other patient": ("PID-3.1", "P0001", "P0002"),
    "a person": ("OBX-16", r"L\|\|LLaVA", "L|1^Doe|LLaVA"),
}


@pytest.mark.parametrize(("words", "pattern", "replacement"), DAMAGES.values(), ids=DAMAGES)
def test_gate_refuses(words: str, pattern: str, replacement: str) -> None:
    document = withdrawn(rows_sent=5)
    message = build_cancellation(document, RIS)
    damaged = re.sub(pattern, replacement, message, count=1)
    assert damaged != message
    with pytest.raises(InvalidOutput, match=words):
        check_cancellation(damaged.encode(), document, RIS)


def test_neither_message_passes_for_the_other() -> None:
    with pytest.raises(InvalidOutput):
        check_oru(encode_cancellation(withdrawn(), RIS).payload, withdrawn(), RIS)
    with pytest.raises(InvalidOutput):
        check_cancellation(encode_oru(withdrawn(), RIS).payload, withdrawn(), RIS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("character_set", ["UNICODE UTF-8", "8859/1"])
def test_it_names_the_order_as_the_draft_did(version: str, character_set: str) -> None:
    """Whatever orders of the accession number have come since: by these numbers a RIS finds the result again."""
    destination = ris(version=version, character_set=character_set)
    order = OrderNumbers(
        placer=("PÖ^1", "HIS", "1.2.3", "ISO"),
        filler=("F|1",),
        accession="ACC0001",
        requested_procedure_id="RP&1",
        scheduled_step_id="SPS1",
        procedure=("CXR", "Thorax ü", "L"),
        priority=2,
        names_study=True,
    )
    draft = encode_oru(make_document(order=order), destination).payload
    told = numbers_in(draft)
    assert told == order
    rows = {"withdrawn_at": WITHDRAWN_AT, "rows_sent": text_rows(draft)}
    cancellation = encode_cancellation(make_document(order=told, **rows), destination).payload
    assert numbers_in(cancellation) == told
