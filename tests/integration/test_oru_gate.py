"""What the gate lets leave as an ORU, and what it refuses."""

import re

import pytest
from report_samples import (
    FLAGS,
    RIS,
    SYNTHETIC_MODEL,
    make_document,
)

from dicom_node.errors import InvalidOutput
from integration.oru import build_oru
from integration.oru_gate import check_oru

MUTATIONS = {
    "final order": ("OBR-25", r"RAD\|P", "RAD|F"),
    "final text": ("OBX-11", r"(normal\.\|\|\|\|\|\|)P", r"\1F"),
    "other status in one row": ("OBX-11", r"(normal\.\|\|\|\|\|\|)P", r"\1R"),
    "result status on a UID": ("OBX-11", r"\|O\|", "|P|"),
    "no status": ("hl7apy", r"(normal\.\|\|\|\|\|\|)P", r"\1"),
    "interpreter": ("OBR-32", r"(fever)\r", r"\1|1\r"),
    "responsible observer": ("OBX-16", r"L\|\|LLaVA", "L|1^Doe|LLaVA"),
    "other patient": ("PID-3.1", "P0001", "P0002"),
    "no patient": ("PID-3.1", r"P0001\^\^\^HOSP\^MR", "^^^^U"),
    "two patients": ("PID-3", r"HOSP\^MR", "HOSP^MR~P0002^^^HOSP^MR"),
    "other issuer": ("PID-3.4", "HOSP\\^MR", "OTHER^MR"),
    "other name": ("PID-5", "CANARY", "OTHER"),
    "replaced name": ("PID-5", "CANARY", "CAN?RY"),
    "other birthday": ("PID-7", "19600102", "19600103"),
    "other sex": ("PID-8", r"\|F\r", "|M\r"),
    "other accession": ("OBR-18", r"ACC0001\|\|\|\|2026", "ACC0002||||2026"),
    "other filler": ("ORC-3", r"RE\|\|ACC0001", "RE||ACC0002"),
    "other study": ("OBX-5, study", r"498\.1\.1\|", "498.1.2|"),
    "other SR": ("OBX-5, SR", r"2\.25\.\d+", "2.25.1"),
    "lost line": ("OBX-5, findings", r"OBX\|4\|[^\r]*\r", ""),
    "changed line": ("OBX-5, findings", "pneumothorax", "a pneumothorax"),
    "replaced character": ("OBX-5, findings", "No focal", "No f?cal"),
    "unescaped": ("hl7apy", "normal", "nor|mal"),
    "other disclaimer": ("OBX-5, disclaimer", "PRELIMINARY AI", "FINAL AI"),
    "no disclaimer": ("OBX-5, disclaimer", r"OBX\|2\|[^\r]*\r", ""),
    "other code": ("OBX-3", r"(OBX\|3\|TX\|)59776-5", r"\g<1>19005-8"),
    "framing": ("framing", "normal", "nor\x1cmal"),
    "lost segment": ("segments", r"PV1[^\r]*\r", ""),
    "second order": ("segments", r"(OBR[^\r]*\r)", r"\1\1"),
    "other delimiters": ("MSH-2", r"MSH\|\^~", "MSH|@~"),
    "other charset": ("MSH-18", "UNICODE UTF-8", "8859/1"),
    "other version": ("MSH-12", r"\|2\.5\.1\|", "|2.9|"),
    "asks for another acknowledgement": ("MSH-15", r"2\.5\.1\|\|\|\|", "2.5.1|||AL|"),
    "other control ID": ("MSH-10", r"(ORU_R01)\|\w+", r"\1|OTHER"),
    "bad date": ("hl7apy", "20260801101500", "20261301101500"),
    "no message type": ("hl7apy", r"ORU\^R01\^ORU_R01", ""),
}


@pytest.mark.parametrize(("field", "pattern", "replacement"), MUTATIONS.values(), ids=MUTATIONS)
def test_gate_refuses(field: str, pattern: str, replacement: str) -> None:
    document = make_document()
    message = build_oru(document, RIS)
    damaged = re.sub(pattern, replacement, message, count=1)
    assert damaged != message
    with pytest.raises(InvalidOutput, match=re.escape(field)) as caught:
        check_oru(damaged.encode(), document, RIS)
    assert "PHI" not in str(caught.value)
    assert "P000" not in str(caught.value)


LEFT = {
    "one row less": (r"OBX\|8\|[^\r]*\r", ""),
    "with text": (r"(?<=LN\|6\|)", "Effusion."),
    "not deleted": (r"(LN\|7\|{7})D", r"\1P"),
}


@pytest.mark.parametrize(("pattern", "replacement"), LEFT.values(), ids=LEFT)
def test_gate_refuses_rows_of_a_longer_draft_that_are_not_deleted(pattern: str, replacement: str) -> None:
    document = make_document(rows_sent=7)
    message = build_oru(document, RIS)
    check_oru(message.encode(), document, RIS)
    damaged = re.sub(pattern, replacement, message, count=1)
    assert damaged != message
    with pytest.raises(InvalidOutput):
        check_oru(damaged.encode(), document, RIS)


@pytest.mark.parametrize(("flags", "gated"), [((), FLAGS), (FLAGS, ()), (FLAGS, FLAGS[:1]), (FLAGS, FLAGS[::-1])])
def test_gate_refuses_other_checks_than_those_of_the_draft(flags: tuple[str, ...], gated: tuple[str, ...]) -> None:
    message = build_oru(make_document(flags=flags), RIS)
    with pytest.raises(InvalidOutput, match="OBX-5, checks"):
        check_oru(message.encode(), make_document(flags=gated), RIS)


def test_gate_refuses_a_synthetic_draft_that_does_not_say_so() -> None:
    message = build_oru(make_document(), RIS)
    with pytest.raises(InvalidOutput, match="OBX-5, "):
        check_oru(message.encode(), make_document(model=SYNTHETIC_MODEL), RIS)


def test_gate_refuses_what_is_not_utf_8() -> None:
    with pytest.raises(InvalidOutput, match="UTF-8"):
        check_oru("Größe".encode("latin-1"), make_document(), RIS)


@pytest.mark.parametrize("payload", [b"", b"\r", b"MSH", b"MSH|^~\\&", b"PID|1\rMSH|^~\\&\r"])
def test_gate_refuses_what_is_no_message(payload: bytes) -> None:
    with pytest.raises(InvalidOutput):
        check_oru(payload, make_document(), RIS)


def test_gate_lets_the_message_pass() -> None:
    check_oru(build_oru(make_document(), RIS).encode(), make_document(), RIS)
