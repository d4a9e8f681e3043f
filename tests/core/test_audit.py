"""The audit trail: what a message says, where it lies, and that it holds up nobody."""

import fcntl
import os
import stat
import threading
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from audit_schema import violations
from doubles import NOON, FrozenClock
from hypothesis import example, given
from hypothesis import strategies as st
from waiting import in_threads, wait_until

from dicom_node import audit
from dicom_node.audit import AuditTrail
from dicom_node.audit_messages import (
    APPLICATION_START,
    APPLICATION_STOP,
    LOGIN,
    LOGOUT,
    Person,
    Process,
    Sender,
    Transfer,
    application_activity,
    instances_accessed,
    instances_imported,
    instances_transferred,
    peer_tested,
    query,
    security_alert,
    study_deleted,
    study_exported,
    user_authentication,
    user_changed,
)

NODE = Process("CXRNODE", 17)
MODALITY = Sender("10.1.2.3", "MODALITY")
ANNA = Person("anna", "10.1.2.4")
BERTA = Person("berta", "10.1.2.5", "https://login.example 1234")
DX, SR = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.88.11"
FILMS = Transfer("1.2.3", "CANARY-ID", {DX: 2, SR: 1})

EVERY_MESSAGE = {
    "start": application_activity(NODE, NOON, APPLICATION_START),
    "stop": application_activity(NODE, NOON, APPLICATION_STOP),
    "alert": security_alert(NODE, NOON, MODALITY, "association refused 1/1/3: unknown"),
    "alert before a title": security_alert(NODE, NOON, Sender("fd00::1"), "handshake refused: timed out"),
    "transfer": instances_transferred(NODE, NOON, MODALITY, FILMS),
    "fetched": instances_transferred(NODE, NOON, MODALITY, FILMS, is_fetched=True),
    "import": instances_imported(NODE, NOON, ANNA, FILMS),
    "login": user_authentication(NODE, NOON, ANNA, LOGIN),
    "login by the provider": user_authentication(NODE, NOON, BERTA, LOGIN),
    "no login": user_authentication(NODE, NOON, ANNA, LOGIN, "the password is wrong"),
    "logout": user_authentication(NODE, NOON, ANNA, LOGOUT),
    "look": instances_accessed(NODE, NOON, ANNA, "1.2.3", "CANARY-ID", is_change=False),
    "change": instances_accessed(NODE, NOON, ANNA, "1.2.3", "", is_change=True),
    "search": query(NODE, NOON, ANNA, "canary"),
    "list": query(NODE, NOON, ANNA, ""),
    "user": user_changed(NODE, NOON, ANNA, "berta"),
    "peer": peer_tested(NODE, NOON, ANNA, "PACS main"),
    "no peer": peer_tested(NODE, NOON, ANNA, "RIS main", "nothing listens there"),
    "deleted": study_deleted(NODE, NOON, "1.2.3", "CANARY-ID"),
    "exported": study_exported(NODE, NOON, ANNA, "1.2.3", "CANARY-ID"),
    "transfer without a Patient ID": instances_transferred(NODE, NOON, MODALITY, Transfer("1.2.3", "", {DX: 1})),
}


@pytest.mark.parametrize("name", EVERY_MESSAGE)
def test_a_message_is_one_line_by_the_schema(name: str) -> None:
    assert violations(EVERY_MESSAGE[name]) == []
    assert "\n" not in EVERY_MESSAGE[name]


@example("\0\x0b\x1b\x7f\x85", "\u2028\u2029\r\n\ufffe", "\ud800<&>\"'")
@given(st.text(), st.text(), st.text())
def test_whatever_strangers_say_the_message_is_one_line_by_the_schema(title: str, words: str, patient: str) -> None:
    sender = Sender("10.1.2.3", title)
    transfer = Transfer(words, patient, {words: 1})
    person = Person(title, words, patient)
    messages = (
        security_alert(NODE, NOON, sender, words),
        instances_transferred(NODE, NOON, sender, transfer),
        instances_imported(NODE, NOON, person, transfer),
        user_authentication(NODE, NOON, person, LOGIN, words),
        instances_accessed(NODE, NOON, person, words, patient, is_change=True),
        query(NODE, NOON, person, words),
        user_changed(NODE, NOON, person, words),
        peer_tested(NODE, NOON, person, words, patient),
    )
    assert [violations(message) for message in messages] == [[]] * 8
    assert all(len(message.splitlines()) == 1 for message in messages)


def codes(message: ET.Element, path: str) -> list[str | None]:
    return [each.get("csd-code") for each in message.findall(path)]


def test_a_start_says_which_application_started() -> None:
    message = ET.fromstring(EVERY_MESSAGE["start"])
    (event,) = message.findall("EventIdentification")
    assert event.attrib == {
        "EventActionCode": "E",
        "EventDateTime": "2026-03-01T12:00:00.000+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert [codes(event, "EventID"), codes(event, "EventTypeCode")] == [["110100"], ["110120"]]
    (application,) = message.findall("ActiveParticipant")
    assert (application.get("UserID"), application.get("AlternativeUserID")) == ("17", "AETITLES=CXRNODE")
    assert codes(application, "RoleIDCode") == ["110150"]


def test_an_alert_says_who_was_turned_away_and_why() -> None:
    message = ET.fromstring(EVERY_MESSAGE["alert"])
    assert [codes(message, f"EventIdentification/{each}") for each in ("EventID", "EventTypeCode")] == [
        ["110113"],
        ["110126"],
    ]
    assert message.find("EventIdentification").get("EventOutcomeIndicator") == "4"  # type: ignore[union-attr]
    assert message.findtext(".//EventOutcomeDescription") == "association refused 1/1/3: unknown"
    node, sender = message.findall("ActiveParticipant")
    assert {each.get("UserIsRequestor") for each in (node, sender)} == {"false"}
    assert (sender.get("UserID"), sender.get("NetworkAccessPointID")) == ("MODALITY", "10.1.2.3")


def test_a_transfer_says_from_where_to_whom_which_study_of_which_patient_and_how_many() -> None:
    message = ET.fromstring(EVERY_MESSAGE["transfer"])
    assert message.find("EventIdentification").get("EventActionCode") == "C"  # type: ignore[union-attr]
    source, destination = message.findall("ActiveParticipant")
    assert [codes(source, "RoleIDCode"), codes(destination, "RoleIDCode")] == [["110153"], ["110152"]]
    assert [source.get("AlternativeUserID"), destination.get("AlternativeUserID")] == [
        "AETITLES=MODALITY",
        "AETITLES=CXRNODE",
    ]
    study, patient = message.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), codes(study, "ParticipantObjectIDTypeCode")) == ("1.2.3", ["110180"])
    counts = {each.get("UID"): each.get("NumberOfInstances") for each in study.iter("SOPClass")}
    assert counts == {DX: "2", SR: "1"}
    assert (patient.get("ParticipantObjectID"), codes(patient, "ParticipantObjectIDTypeCode")) == ("CANARY-ID", ["2"])


def test_what_was_fetched_was_asked_for_by_the_node() -> None:
    for name, requestors in (("transfer", ["true", "false"]), ("fetched", ["false", "true"])):
        participants = ET.fromstring(EVERY_MESSAGE[name]).findall("ActiveParticipant")
        assert [each.get("UserIsRequestor") for each in participants] == requestors


def test_an_import_says_who_had_files_read_and_what_came_of_them() -> None:
    """PS3.15 table A.5.3.5-1."""
    message = ET.fromstring(EVERY_MESSAGE["import"])
    assert codes(message, "EventIdentification/EventID") == ["110107"]
    assert message.find("EventIdentification").get("EventActionCode") == "C"  # type: ignore[union-attr]
    person, node, media = message.findall("ActiveParticipant")
    assert [codes(each, "RoleIDCode") for each in (person, node, media)] == [["110152"], ["110152"], ["110155"]]
    assert [each.get("UserIsRequestor") for each in (person, node, media)] == ["true", "false", "false"]
    study, patient = message.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), patient.get("ParticipantObjectID")) == ("1.2.3", "CANARY-ID")
    assert [each.get("NumberOfInstances") for each in study.iter("SOPClass")] == ["2", "1"]


def test_a_look_at_a_study_says_who_looked_from_where_at_which_study_of_which_patient() -> None:
    message = ET.fromstring(EVERY_MESSAGE["look"])
    assert codes(message, "EventIdentification/EventID") == ["110103"]
    assert message.find("EventIdentification").get("EventActionCode") == "R"  # type: ignore[union-attr]
    person, node = message.findall("ActiveParticipant")
    assert (person.get("UserID"), person.get("NetworkAccessPointID")) == ("anna", "10.1.2.4")
    assert [each.get("UserIsRequestor") for each in (person, node)] == ["true", "false"]
    found = [each.get("ParticipantObjectID") for each in message.findall("ParticipantObjectIdentification")]
    assert found == ["1.2.3", "CANARY-ID"]


def test_who_comes_in_by_the_provider_is_named_as_that_knows_them_too() -> None:
    for name, known_as in (("login by the provider", "https://login.example 1234"), ("login", None)):
        person, _ = ET.fromstring(EVERY_MESSAGE[name]).findall("ActiveParticipant")
        assert person.get("AlternativeUserID") == known_as


def test_a_search_says_who_looked_for_what() -> None:
    message = ET.fromstring(EVERY_MESSAGE["search"])
    assert codes(message, "EventIdentification/EventID") == ["110112"]
    assert b64decode(message.findtext(".//ParticipantObjectQuery") or "") == b"canary"
    assert [each.get("UserID") for each in message.findall("ActiveParticipant")] == ["anna", "17"]


def test_a_change_of_who_may_come_in_says_who_made_it_and_of_whom() -> None:
    message = ET.fromstring(EVERY_MESSAGE["user"])
    assert [codes(message, f"EventIdentification/{each}") for each in ("EventID", "EventTypeCode")] == [
        ["110113"],
        ["110137"],
    ]
    (user,) = message.findall("ParticipantObjectIdentification")
    assert user.get("ParticipantObjectID") == "berta"


def test_a_test_of_a_peer_that_failed_says_why() -> None:
    message = ET.fromstring(EVERY_MESSAGE["no peer"])
    assert message.findtext(".//EventOutcomeDescription") == "nothing listens there"


def test_a_login_that_failed_says_so() -> None:
    message = ET.fromstring(EVERY_MESSAGE["no login"])
    assert codes(message, "EventIdentification/EventTypeCode") == ["110122"]
    assert message.find("EventIdentification").get("EventOutcomeIndicator") == "4"  # type: ignore[union-attr]
    assert message.findtext(".//EventOutcomeDescription") == "the password is wrong"


@contextmanager
def trail(folder: Path, clock: FrozenClock) -> Iterator[AuditTrail]:
    made = AuditTrail(folder, "CXRNODE", clock)
    yield made
    made.stopped()


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def test_each_day_has_a_file_that_is_appended_to(tmp_path: Path) -> None:
    clock = FrozenClock(datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
    for _ in range(2):
        with trail(tmp_path / "audit", clock) as made:
            made.started()
    with trail(tmp_path / "audit", clock) as made:
        made.transferred(MODALITY, FILMS)
        clock.forward(120)
        made.refused("10.1.2.3", "", "handshake refused: timed out")
    first, second = sorted((tmp_path / "audit").iterdir())
    assert (first.name, second.name) == ("audit-2026-03-01.log", "audit-2026-03-02.log")
    assert (len(lines(first)), len(lines(second))) == (5, 2)
    assert [violations(line) for line in lines(first) + lines(second)] == [[]] * 7
    assert stat.S_IMODE(first.stat().st_mode) & ~0o640 == 0
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) & ~0o750 == 0


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "audit-2026-03-01.log"
    with trail(tmp_path, FrozenClock()) as made:
        made.started()
        wait_until(file.exists, "the file is there")
        file.rename(tmp_path / "archived.log")
    assert (len(lines(file)), len(lines(tmp_path / "archived.log"))) == (1, 1)


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    with trail(tmp_path, FrozenClock()) as made, trail(tmp_path, FrozenClock()) as other:
        in_threads(lambda: [each.transferred(MODALITY, FILMS) for each in (made, other) * 20], threads=8)
    found = lines(tmp_path / "audit-2026-03-01.log")
    assert len(found) == 8 * 40 + 2
    assert {tuple(violations(line)) for line in found} == {()}


class BlockedTrail(AuditTrail):
    """The disk hangs until it is let go."""

    def __init__(self, folder: Path, clock: FrozenClock) -> None:
        self.let_go = threading.Event()
        super().__init__(folder, "CXRNODE", clock)

    def _write(self, *item: object) -> None:
        self.let_go.wait(20)
        super()._write(*item)  # type: ignore[arg-type]


def test_a_disk_that_hangs_makes_nobody_wait_and_the_loss_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_MOST_WAITING", 5)
    blocked = BlockedTrail(tmp_path, FrozenClock())
    for _ in range(20):
        blocked.started()
    assert '"count": 1, "reason": "too many at once", "event": "audit_messages_lost"' in caplog.text
    assert caplog.text.count("audit_messages_lost") == 1  # once a minute at most
    blocked.let_go.set()
    blocked.stopped()
    written = len(lines(tmp_path / "audit-2026-03-01.log"))
    assert 5 <= written <= 7
    assert blocked._lost == 21 - written


def test_a_folder_that_cannot_be_written_is_named_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit").write_text("a file is in the place of the folder")
    made = AuditTrail(tmp_path / "audit", "CXRNODE", FrozenClock())
    made.started()
    wait_until(lambda: "audit_messages_lost" in caplog.text, "the loss is logged")
    (tmp_path / "audit").unlink()
    made.stopped()
    assert len(lines(tmp_path / "audit/audit-2026-03-01.log")) == 1


def test_a_message_cut_short_by_a_full_disk_spoils_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, cut = os.write, iter([20])
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[: next(cut, None)]))
    with trail(tmp_path, FrozenClock()) as made:
        made.started()
    monkeypatch.undo()
    part, whole = lines(tmp_path / "audit-2026-03-01.log")
    assert (len(part), violations(whole)) == (20, [])
    assert "No space left on device" in caplog.text


def test_a_message_of_a_process_that_died_is_ended_by_the_next(tmp_path: Path) -> None:
    file = tmp_path / "audit-2026-03-01.log"
    file.write_text("<AuditMess")
    with trail(tmp_path, FrozenClock()) as made:
        made.started()
    part, *whole = lines(file)
    assert part == "<AuditMess"
    assert [violations(line) for line in whole] == [[], []]


def test_who_writes_waits_for_who_is_writing(tmp_path: Path) -> None:
    """Of another machine, on NFS: both would write at the same place."""
    file = tmp_path / "audit-2026-03-01.log"
    with file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with trail(tmp_path, FrozenClock()) as made:
            made.started()
            wait_until(lambda: waits_for_lock(file), "it waits")
            assert file.stat().st_size == 0
            fcntl.flock(other, fcntl.LOCK_UN)
    assert len(lines(file)) == 2


def waits_for_lock(file: Path) -> bool:
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(line.split()[6].endswith(f":{file.stat().st_ino}") for line in waiting)


def test_times_are_those_of_the_events(tmp_path: Path) -> None:
    clock = FrozenClock()
    with trail(tmp_path, clock) as made:
        made.started()
        clock.forward(timedelta(hours=1).total_seconds())
    times = [ET.fromstring(line)[0].get("EventDateTime") for line in lines(tmp_path / "audit-2026-03-01.log")]
    assert times == ["2026-03-01T12:00:00.000+00:00", "2026-03-01T13:00:00.000+00:00"]
