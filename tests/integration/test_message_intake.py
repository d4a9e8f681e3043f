"""Messages are kept before they are acknowledged; what cannot be used is refused by name."""

import logging
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from doubles import NOON, FrozenClock
from films import shared_data
from hl7_messages import code_of, final, merge, message, order, update
from hypothesis import given
from hypothesis import strategies as st
from rows import all_of, only
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import FinalReport, InboundMessage, Order, PatientMerge
from integration import message_intake
from integration.acknowledgement import Refused
from integration.er7 import read_header, split_batch
from integration.inbound_message import read_message
from integration.message_intake import MessageIntake


@pytest.fixture
def intake(sessions: Sessions, settings: Settings) -> MessageIntake:
    return MessageIntake(settings, sessions, FrozenClock())


def ask(intake: MessageIntake, *messages: bytes) -> list[str]:
    return [code_of(each) for each in intake.take(messages)]


def with_settings(intake: MessageIntake, **changes: object) -> MessageIntake:
    return MessageIntake(intake.settings.model_copy(update=changes), intake.sessions, intake.clock)


def test_an_accepted_message_is_a_row_as_it_came(intake: MessageIntake) -> None:
    raw = order()
    assert ask(intake, raw) == ["AA"]
    row = only(intake.sessions, InboundMessage)
    assert (row.raw, row.sending_application, row.sending_facility) == (raw, "RIS", "HOSP")
    assert (row.control_id, row.message_type, row.received_at) == ("C1", "ORM^O01", NOON)
    assert (row.is_used, row.reason) == (True, "an order")
    assert only(intake.sessions, Order).message_id == row.id


def test_a_message_that_comes_again_is_acknowledged_and_not_worked_in_twice(intake: MessageIntake) -> None:
    assert ask(intake, final(), final()) == ["AA", "AA"]
    assert ask(intake, final()) == ["AA"]
    assert len(all_of(intake.sessions, FinalReport)) == len(all_of(intake.sessions, InboundMessage)) == 1


def test_other_bytes_under_a_known_control_id_are_another_message(intake: MessageIntake) -> None:
    ask(intake, final(), final(status="C"))
    assert [each.status for each in all_of(intake.sessions, FinalReport)] == ["F", "C"]


def test_control_ids_are_each_senders_own(intake: MessageIntake) -> None:
    ask(intake, final(), final(f3="OTHER"), final(f4="OTHER"))
    assert len(all_of(intake.sessions, InboundMessage)) == 3


def test_what_is_not_used_is_kept_and_says_so(intake: MessageIntake) -> None:
    assert ask(intake, final(status="P"), order(control="HD", control_id="C2")) == ["AA", "AA"]
    rows = all_of(intake.sessions, InboundMessage)
    assert [(each.is_used, each.reason) for each in rows] == [
        (False, "a report that is not final"),
        (False, "1 with an order control that is not used"),
    ]


PID = "PID|1||CANARY-ID"
REFUSED = {
    "no header": (b"CANARY", "AR 100"),
    "empty": (b"", "AR 100"),
    "type": (message("MDM^T02", PID), "AR 200"),
    "no type": (message("", PID), "AR 200"),
    "event": (message("ADT^A01", PID), "AR 201"),
    "no event of several": (message("ADT", PID), "AR 201"),
    "version": (order(f12="3.0"), "AR 203"),
    "processing id": (order(f11="T"), "AR 202"),
    "no control id": (order(control_id=""), "AE 101"),
    "long control id": (order(control_id="7" * 200), "AE 102"),
    "long sender": (order(f3="S" * 200), "AE 102"),
    "character set": (order(f18="KLINGON"), "AE 103"),
    "one unknown character set": (order(f18="8859/1~KLINGON"), "AE 103"),
    "not of the character set": (order(reason="\x80", f18="8859/1"), "AE 102"),
    "not UTF-8": (order(f18="UNICODE UTF-8") + b"NTE|\xe4\r", "AE 102"),
    "not ASCII": (order(reason="Größe", f18="ASCII"), "AE 102"),
    "delimiters without end": (order() + b"OBX|" + b"ab~" * 1_000_000, "AE 102"),
    "two in one": (order(reason="MSH" * 10_000) + b"MSH|^~\\&|\r", "AE 100"),
    "NUL": (order(reason="\0"), "AE 102"),
    "no patient": (message("ORM^O01", "ORC|NW|1"), "AE 100"),
    "no patient identifier": (message("ORM^O01", "PID|1||^^^HOSP", "ORC|NW|1"), "AE 101"),
    "long patient identifier": (message("ORM^O01", f"PID|1||{'9' * 200}", "ORC|NW|1"), "AE 102"),
    "one long patient identifier": (message("ORM^O01", f"PID|1||1~{'9' * 200}", "ORC|NW|1"), "AE 102"),
    "many patient identifiers": (message("ADT^A40", f"PID|1||{'1~' * 101}", "MRG|2"), "AE 102"),
    "no order": (message("ORM^O01", PID), "AE 100"),
    "no number": (message("ORM^O01", PID, "ORC|NW"), "AE 101"),
    "long number": (message("ORM^O01", PID, f"ORC|NW|{'9' * 200}"), "AE 102"),
    "no UID": (message("ORM^O01", PID, "ORC|NW|1", "ZDS|CANARY"), "AE 102"),
    "no request": (message("ORU^R01", PID, "OBX|1|TX|||CANARY"), "AE 100"),
    "report of nothing": (message("ORU^R01", PID, "OBR|1||||||||||||||||||||||||F"), "AE 101"),
    "merge of nothing": (message("ADT^A40", PID), "AE 100"),
    "merge without a number": (message("ADT^A40", PID, "MRG|"), "AE 101"),
    "merge before the patient": (message("ADT^A40", "MRG|1", PID), "AE 100"),
    "update of nobody": (message("ADT^A08", "PV1|1"), "AE 100"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(
    name: str, settings: Settings, sqlite_sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    raw, code = REFUSED[name]
    assert ask(MessageIntake(settings, sqlite_sessions, FrozenClock()), raw, order(control_id="C9")) == [code, "AA"]
    assert len(all_of(sqlite_sessions, InboundMessage)) == 1
    assert [record.levelname for record in caplog.records if "message_refused" in record.message] == ["WARNING"]


ACCEPTED = {
    "no third component": order(kind="ORM^O01"),
    "with structure": order(kind="ORM^O01^ORM_O01"),
    "no event of one": order(kind="ORM"),
    "no version": order(f12=""),
    "version with country": order(f12="2.3.1^USA"),
    "a newer version": order(f12="2.9"),
    "no processing id": order(f11=""),
    "processing mode": order(f11="P^A"),
    "five delimiters": order(f2="^~\\&#"),
    "no last line end": order().removesuffix(b"\r"),
    "CRLF": order().replace(b"\r", b"\r\n"),
    "LF": order().replace(b"\r", b"\n"),
    "BOM": b"\xef\xbb\xbf" + order(),
    "blank lines": b"\r\n" + order() + b"\r\n\r\n",
    "unknown segments": order() + b"ZZZ|1\rpid|lower\r||||\r",
    "bad date": order(f7="2026-08-01"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_senders_get_wrong_and_is_clear_is_taken(name: str, settings: Settings, sqlite_sessions: Sessions) -> None:
    assert ask(MessageIntake(settings, sqlite_sessions, FrozenClock()), ACCEPTED[name]) == ["AA"]
    row = only(sqlite_sessions, Order)
    assert (row.accession_number, row.reason_for_study) == ("CANARY-ACC", "Cough, fever")


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("8859/1", "latin-1"),
        ("8859/15", "iso8859-15"),
        ("ISO IR100", "latin-1"),
        ("WINDOWS-1252", "cp1252"),
        ("", "utf-8"),
    ],
)
def test_text_is_read_in_the_declared_character_set(
    declared: str, codec: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    raw = order(reason="Größe", f18=declared).decode().encode(codec)
    assert ask(MessageIntake(settings, sqlite_sessions, FrozenClock()), raw) == ["AA"]
    assert only(sqlite_sessions, Order).reason_for_study == "Größe"


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("~ISO IR87", "iso2022_jp", "胸痛"),
        ("ASCII~ISO IR87", "iso2022_jp", "胸痛"),
        ("GB 18030-2000", "gb18030", "胸痛"),
        ("BIG-5", "big5", "許功蓋"),  # their second bytes are a backslash
        ("KS X 1001", "euc_kr", "흉통"),
        ("8859/5", "iso8859_5", "Кашель"),
    ],
)
def test_other_scripts_are_read_too(
    declared: str, codec: str, text: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    raw = order(reason=text, f18=declared).decode().encode(codec)
    assert ask(MessageIntake(settings, sqlite_sessions, FrozenClock()), raw) == ["AA"]
    assert only(sqlite_sessions, Order).reason_for_study == text


def test_a_site_says_what_messages_without_a_character_set_are_in(intake: MessageIntake) -> None:
    raw = order(reason="Größe").decode().encode("latin-1")
    assert ask(intake, raw) == ["AE 102"]
    assert ask(with_settings(intake, hl7_character_set="8859/1"), raw) == ["AA"]
    assert only(intake.sessions, Order).reason_for_study == "Größe"


@pytest.mark.parametrize("kind", [OperationalError, InternalError], ids=["away", "read-only"])
def test_a_database_that_is_away_asks_to_send_again(kind: type[DBAPIError], intake: MessageIntake) -> None:
    engine = intake.sessions.kw["bind"]

    def away(*_: Any) -> None:
        raise kind("CANARY", {}, Exception("CANARY"))

    event.listen(engine, "before_cursor_execute", away)
    assert ask(intake, order(), b"rubbish") == ["AR 207", "AR 100"]
    event.remove(engine, "before_cursor_execute", away)
    assert ask(intake, order()) == ["AA"]


def test_a_message_fails_for_its_own_faults_only(intake: MessageIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in = message_intake.work_in

    def fail_for_merges(session: Any, facts: Any, source: Any) -> None:
        work_in(session, facts, source)
        if "Merge" in type(facts[0]).__name__:
            raise LookupError("CANARY")

    monkeypatch.setattr(message_intake, "work_in", fail_for_merges)
    answers = ask(intake, order(), merge(prior="OLD", surviving="NEW"), final())
    assert answers == ["AA", "AE 207", "AA"]
    assert len(all_of(intake.sessions, InboundMessage)) == 2
    assert all_of(intake.sessions, PatientMerge) == []


def test_no_log_line_says_what_a_message_says(intake: MessageIntake, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(intake, order(), final(), update(), merge(prior="CANARY-OLD", surviving="CANARY-ID"), b"CANARY")
    assert [record.message for record in caplog.records if "CANARY" in record.message] == []


@given(
    raw=st.sampled_from([order(study="1.2"), final(), update(), merge(prior="A", surviving="B")]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=9)), max_size=8),
)
def test_no_bytes_are_a_fault_of_ours(raw: bytes, changes: list[tuple[int, bytes]]) -> None:
    for place, piece in changes:
        raw = raw[:place] + piece + raw[place + len(piece) // 2 :]
    with suppress(Refused):
        read_message(raw, read_header(raw), DEFAULTS)


DEFAULTS = Settings()

# What becomes of the published messages, in a file's order; a file of many: how often what.
FILES = {
    "ADT-A01-02.hl7": ["AR 201"],
    "ADT-A08-01.hl7": ["AA"],
    "ADT_A31-UpdatePersonInfo.hl7": ["AA"],
    "ADT_A40-PatientMerge.hl7": ["AA"],
    "LAB-ORM-1.hl7": ["AA"],
    "MDM-T02-01.hl7": ["AR 200"],
    "OMI_O23-ImagingOrder.hl7": ["AE 102"],  # says 8859/1, and is UTF-8
    "ORM-O01-01.hl7": ["AA"],
    "ORM_O01-GeneralOrder.hl7": ["AE 102"],  # the same
    "ORU-R01-01.hl7": ["CA"],
    "ORU-multiline-short.hl7": ["AA"],
    "ORU_R01-SR.hl7": ["AA"],
    "Sample-ORM.txt": ["CA"],
    "adt_a08_sample.hl7": ["CA"],
    "empty_segments.hl7": ["AR 201"],
    "gcp_chest2views_oru.hl7": ["AA"],
    "lotsunknowns.hl7": ["AA"],
    "obxobr.hl7": ["CA"],
    "orm_o01_sample.hl7": ["CA"],
    "oru_r01_sample.hl7": ["CA"],
    "realm-batch.hl7": ["", ""],  # MSH-15 and MSH-16: never
    "sample_unix.hl7": ["CR 201"],
    "sample_win.hl7": ["CR 201"],
    "simhospital_messages.out": {"CA": 611, "CR 201": 400, "CR 200": 2},
}
ORDERS = {"LAB-ORM-1.hl7", "ORM-O01-01.hl7", "Sample-ORM.txt", "lotsunknowns.hl7", "orm_o01_sample.hl7"}
FINALS = {"ORU-R01-01.hl7": 1, "ORU-multiline-short.hl7": 1, "ORU_R01-SR.hl7": 1, "realm-batch.hl7": 3}


def test_every_published_file_is_in_the_table() -> None:
    assert {path.name for path in shared_data("hl7").iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_published_message_ends_in_a_row_or_a_named_refusal(name: str, intake: MessageIntake) -> None:
    messages = split_batch(shared_data("hl7", name).read_bytes())
    site = with_settings(intake, processing_id=processing_id_of(messages[0]))
    answers, expected = ask(site, *messages), FILES[name]
    if isinstance(expected, list):
        assert answers == expected
    else:
        assert Counter(answers) == expected
    kept = sum(answer in ("", "AA", "CA") for answer in answers)
    assert len(all_of(intake.sessions, InboundMessage)) == kept
    if isinstance(expected, list):
        assert len(all_of(intake.sessions, Order)) == (name in ORDERS)
        assert len(all_of(intake.sessions, FinalReport)) == FINALS.get(name, 0)


def processing_id_of(raw: bytes) -> str:
    header = read_header(raw)
    return (header and header.component(11)) or "P"


def test_orders_in_the_right_character_set_are_rows(intake: MessageIntake) -> None:
    for name in ("OMI_O23-ImagingOrder.hl7", "ORM_O01-GeneralOrder.hl7"):
        raw = Path(shared_data("hl7", name)).read_bytes().replace(b"|8859/1|", b"|UNICODE UTF-8|")
        assert ask(intake, raw) == ["AA"]
    (row,) = all_of(intake.sessions, Order)  # both are of one order
    assert (row.accession_number, row.requested_procedure_id) == ("AccessionNumber", "RequestedProcID")
    assert row.study_instance_uid == "1.2.392.200036.9125.0.198811291108.7"
    assert "motor score from 12 –35" in row.reason_for_study
