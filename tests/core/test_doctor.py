"""`dicom-node doctor`: each broken set-up is named in words, with the fix."""

import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
import torch
from authority import Authority
from pydantic import SecretStr
from pynetdicom import build_context
from rows import add_instance, add_study
from sqlalchemy import text
from tiny_model import write_tiny_model
from waiting import LONG_S, free_port

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, migrate, open_database
from dicom_node.doctor import command
from dicom_node.doctor.command import diagnose
from dicom_node.doctor.diagnosis import Diagnosis, Verdict, fault
from dicom_node.models import Heartbeat, Transition
from dicom_node.peers import Channel, DicomDestination, DicomSource, MllpDestination, Peer, Tls
from integration.simulators.inbox import read_receipts
from integration.simulators.pacs import LoopbackPacs, PacsFault
from integration.simulators.ris import LoopbackRis, answer_with, keep_silent
from workers.llavarad.checkpoint import write_manifest

VERIFICATION = "1.2.840.10008.1.1"
Changed = Callable[..., Settings]


@pytest.fixture
def changed(settings: Settings, sqlite_sessions: Sessions) -> Changed:
    """The settings of a node whose database is there, with changes."""
    return lambda **changes: settings.model_copy(update={"port": free_port(), "http_port": free_port(), **changes})


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[LoopbackPacs]:
    with LoopbackPacs(tmp_path / "pacs") as running:
        yield running


@pytest.fixture
def ris(tmp_path: Path) -> Iterator[LoopbackRis]:
    with LoopbackRis(tmp_path / "ris") as running:
        yield running


def found(settings: Settings, what: str) -> Diagnosis:
    (one,) = [each for each in diagnose(settings) if each.what == what]
    return one


def pacs_at(port: int, host: str = "127.0.0.1", **changes: Any) -> DicomDestination:
    return DicomDestination(name="main", ae_title="PACS", host=host, port=port, **{"timeout_s": LONG_S, **changes})


def ris_at(port: int, **changes: Any) -> MllpDestination:
    return MllpDestination(name="main", host="127.0.0.1", port=port, **{"timeout_s": LONG_S, **changes})


def test_a_node_in_order_has_no_fault(changed: Changed, pacs: LoopbackPacs, ris: LoopbackRis, tmp_path: Path) -> None:
    settings = changed(
        peers={"CT1": Peer()},
        pacs=(pacs_at(pacs.port),),
        ris=(ris_at(ris.port),),
    )
    verdicts = {each.what: each.verdict for each in diagnose(settings)}
    # The model that ships is none for patients, and says so.
    assert {what for what, verdict in verdicts.items() if verdict != Verdict.OK} == {"model"}
    assert verdicts["model"] == Verdict.WARNING
    (receipt,) = read_receipts(tmp_path / "ris")
    assert b"|NMD^N02^NMD_N02|" in (tmp_path / "ris" / f"{receipt.identifier}.hl7").read_bytes()


def test_a_ris_that_refuses_the_test_message_has_answered(changed: Changed, ris: LoopbackRis) -> None:
    ris.reply = answer_with("AR", "200")
    diagnosis = found(changed(ris=(ris_at(ris.port),)), "RIS main")
    assert (diagnosis.verdict, "(AR)" in diagnosis.words) == (Verdict.OK, True)


def _certificate(tmp_path: Path, days: int = 30) -> Tls:
    return Authority(tmp_path / "certificates").issue("node", days=days)


def _with_crl(tmp_path: Path, hours: int, *, days: int = 30) -> Tls:
    authority = Authority(tmp_path / "certificates")
    tls = authority.issue("node", days=days)
    authority.certificate.write_text(authority.certificate.read_text() + authority.revocations(hours=hours))
    return tls


def _mixed(tmp_path: Path) -> Tls:
    authority = Authority(tmp_path / "certificates")
    one, other = authority.issue("one"), authority.issue("other")
    return Tls(certificate=one.certificate, key=other.key, ca=one.ca)


def _of_a_later_release(tmp_path: Path) -> Path:
    """A data folder with such a database."""
    engine = open_database(Settings(data_dir=tmp_path / "later"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))
    engine.dispose()
    return tmp_path / "later"


def _without_image_folder(tmp_path: Path) -> Path:
    """As of another account, which nothing is to who may do everything."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "instances").touch()
    return tmp_path / "other"


def _below_a_disk_that_is_away(tmp_path: Path) -> Path:
    """A data folder with a row of an image, and without the folders of images."""
    settings = Settings(data_dir=tmp_path / "bare")
    engine = open_database(settings)
    migrate(engine)
    with Sessions(engine).begin() as session:
        add_instance(session, add_study(session))
    engine.dispose()
    settings.instances_dir.mkdir()
    return settings.data_dir


# What is broken → the line of the table that says so, words that it is said in, and words of the fix.
BROKEN: dict[str, tuple[Callable[[Settings, Path], dict[str, Any]], str, str, str]] = {
    "a data folder that is a file": (
        lambda s, tmp: {"data_dir": _blocked(tmp)},
        "data folder",
        "cannot be written: Not a directory",
        "set data_dir",
    ),
    "an image folder that is a file": (
        lambda s, tmp: {"data_dir": _without_image_folder(tmp)},
        "image folder",
        "instances cannot be written: File exists",
        "all that is in",
    ),
    "a disk of images that is not mounted": (
        lambda s, tmp: {"data_dir": _below_a_disk_that_is_away(tmp)},
        "image folder",
        "is empty, and rows name images in it",
        "mount its disk",
    ),
    "a full disk": (lambda s, tmp: {"min_free_bytes": 10**18}, "disk", "are kept back", "make room"),
    "a port of another address": (
        lambda s, tmp: {"host": "192.0.2.1"},
        "DICOM port",
        "cannot be listened at",
        "change host and port",
    ),
    "a missing certificate": (
        lambda s, tmp: {"tls": Tls(certificate=tmp / "no.pem", key=tmp / "no.key", ca=tmp / "no.pem")},
        "certificate (tls)",
        "no such file",
        "PEM files that this user can read",
    ),
    "a key of another certificate": (
        lambda s, tmp: {"hl7_tls": _mixed(tmp)},
        "certificate (hl7_tls)",
        "key values mismatch",
        "a key that belongs to the certificate",
    ),
    "a certificate that has ended": (
        lambda s, tmp: {"http_tls": _certificate(tmp, days=-1)},
        "certificate (http_tls)",
        "expired 1 days ago",
        "replace the file",
    ),
    "a certificate that has ended, and a CRL that soon will": (
        lambda s, tmp: {"tls": _with_crl(tmp, hours=6, days=-1)},
        "certificate (tls)",
        "expired 1 days ago",
        "replace the file",
    ),
    "a CRL that is out of date": (
        lambda s, tmp: {"tls": _with_crl(tmp, hours=0)},
        "certificate (tls)",
        "hours: nobody is let in",
        "new CRL",
    ),
    "a database that is away": (
        lambda s, tmp: {"database_url": SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/none")},
        "database",
        "cannot be used",
        "set database_url right",
    ),
    "a database file that cannot be opened": (
        lambda s, tmp: {"data_dir": _with_a_folder_for_a_database(tmp)},
        "database",
        "node.sqlite cannot be used",
        "the right to write this file",
    ),
    "a database of a later release": (
        lambda s, tmp: {"data_dir": _of_a_later_release(tmp)},
        "database",
        "schema is at revision 9999",
        "run that release",
    ),
    "somebody to tell by a service that is none": (
        lambda s, tmp: {"notify": (Channel(name="oncall", url=SecretStr("nonsense://token")),)},
        "notify oncall",
        "Apprise does not know the service",
        "write its url as Apprise does",
    ),
    "a broker that is away": (
        lambda s, tmp: {"broker_url": SecretStr(f"redis://127.0.0.1:{free_port()}/0")},
        "broker",
        "does not answer",
        "start Redis",
    ),
    "a PACS without a name in the DNS": (
        lambda s, tmp: {"pacs": (pacs_at(104, host="pacs.invalid"),)},
        "PACS main",
        "has no address (DNS)",
        "this machine's resolver",
    ),
    "a PACS that is off": (
        lambda s, tmp: {"pacs": (pacs_at(free_port()),)},
        "PACS main",
        "nothing listens at",
        "set its host and port right",
    ),
    "a source that is off": (
        lambda s, tmp: {"sources": (DicomSource(name="old", ae_title="OLD", host="127.0.0.1", port=free_port()),)},
        "source old",
        "nothing listens at",
        "set its host and port right",
    ),
    "a RIS that is off": (
        lambda s, tmp: {"ris": (ris_at(free_port()),)},
        "RIS main",
        "nothing listens at",
        "set its host and port right",
    ),
    "a model folder that is not there": (
        lambda s, tmp: {"model_dir": tmp / "none"},
        "model",
        "no model folder at",
        "dicom-node model import",
    ),
    "no destination": (lambda s, tmp: {}, "PACS", "drafts go to no PACS", "[[pacs]]"),
}


def _with_a_folder_for_a_database(tmp_path: Path) -> Path:
    (tmp_path / "odd" / "node.sqlite").mkdir(parents=True)
    return tmp_path / "odd"


def _blocked(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "node"


@pytest.mark.parametrize("broken", list(BROKEN))
def test_what_is_broken_is_named_with_its_fix(broken: str, changed: Changed, tmp_path: Path) -> None:
    break_it, what, words, fix = BROKEN[broken]
    diagnosis = found(changed(**break_it(changed(), tmp_path)), what)
    assert words in diagnosis.words
    assert fix in diagnosis.fix
    assert diagnosis.verdict == (Verdict.WARNING if broken == "no destination" else Verdict.FAULT)


@pytest.mark.parametrize(
    ("beats", "verdict", "words"),
    [
        ({"scp": 0}, Verdict.OK, "is listened at by this node (scp)"),
        ({"scp": 3600}, Verdict.FAULT, "is taken by another program"),
        ({"web": 0}, Verdict.FAULT, "is taken by another program"),
        ({}, Verdict.FAULT, "is taken by another program"),
    ],
)
def test_a_port_that_is_taken_is_this_nodes_if_its_role_is_alive(
    beats: dict[str, float], verdict: Verdict, words: str, changed: Changed, sqlite_sessions: Sessions
) -> None:
    with sqlite_sessions.begin() as session:
        for role, age_s in beats.items():
            well_at = utc_now() - timedelta(seconds=age_s)
            session.add(Heartbeat(role=role, host=socket.gethostname(), well_at=well_at))
    with socket.create_server(("127.0.0.1", 0)) as server:
        diagnosis = found(changed(port=server.getsockname()[1]), "DICOM port")
        server.settimeout(0)
        with pytest.raises(BlockingIOError):  # nobody has connected: with TLS that would be an alert
            server.accept()
    assert (diagnosis.verdict, words in diagnosis.words) == (verdict, True)


def test_a_port_that_is_taken_where_no_node_ever_was_is_another_programs(changed: Changed, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        diagnosis = found(changed(http_port=server.getsockname()[1], data_dir=tmp_path / "new"), "HTTP port")
    assert diagnosis.verdict == Verdict.FAULT
    assert diagnosis.fix == "stop that program, or change http_host and http_port"


def test_a_port_that_is_taken_while_the_database_is_away_may_be_this_nodes(changed: Changed) -> None:
    away = SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with socket.create_server(("127.0.0.1", 0)) as server:
        diagnosis = found(changed(port=server.getsockname()[1], database_url=away), "DICOM port")
    assert diagnosis.verdict == Verdict.WARNING


def test_a_pacs_that_does_not_know_us_is_told_from_one_that_is_off(changed: Changed, pacs: LoopbackPacs) -> None:
    pacs.fault = PacsFault(rejection=(1, 1, 3))
    diagnosis = found(changed(pacs=(pacs_at(pacs.port),)), "PACS main")
    assert diagnosis.verdict == Verdict.FAULT
    assert "rejected the association (rejected permanent, calling ae title not recognised)" in diagnosis.words
    assert "calling AE title CXRNODE" in diagnosis.fix


def test_a_pacs_that_goes_by_another_ae_title_is_told_from_one_that_does_not_know_us(
    changed: Changed, pacs: LoopbackPacs
) -> None:
    pacs.fault = PacsFault(rejection=(1, 1, 7))
    diagnosis = found(changed(pacs=(pacs_at(pacs.port),)), "PACS main")
    assert "called ae title not recognised" in diagnosis.words
    assert diagnosis.fix == "set ae_title of [[pacs]] main: it does not go by PACS"


@pytest.mark.parametrize("speaks_tls", [True, False])
def test_tls_at_one_end_alone_is_said(speaks_tls: bool, changed: Changed, tmp_path: Path) -> None:
    tls = Authority(tmp_path / "certificates").issue("node")
    with LoopbackPacs(tmp_path / "pacs", tls=tls if speaks_tls else None) as pacs:
        there = pacs_at(pacs.port, tls=None if speaks_tls else tls, timeout_s=2.0)
        diagnosis = found(changed(pacs=(there,)), "PACS main")
    assert diagnosis.verdict == Verdict.FAULT
    assert "TLS" in diagnosis.fix
    assert "tls of [[pacs]] main" in diagnosis.fix


def test_a_pacs_that_takes_no_sr_is_found_before_a_draft_is_refused(
    changed: Changed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A receiver of ours that ran in this process lets every server in it take all storage classes.
    monkeypatch.setattr(pynetdicom._config, "UNRESTRICTED_STORAGE_SERVICE", False)
    with LoopbackPacs(tmp_path / "pacs", contexts=[build_context(VERIFICATION)]) as pacs:
        diagnosis = found(changed(pacs=(pacs_at(pacs.port),)), "PACS main")
    words = "PACS does not take Basic Text SR Storage (objects: sr)"
    assert (diagnosis.verdict, diagnosis.words) == (Verdict.FAULT, words)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"ask_before_sending": True}, "FIND (ask_before_sending)"),
        ({"commitment": True}, "Storage Commitment Push Model SOP Class (commitment)"),
        ({"rejection_notes": True}, "Key Object Selection Document Storage (rejection_notes)"),
        ({"objects": ("sr", "pdf", "page")}, "Encapsulated PDF Storage (objects: pdf), Secondary Capture Image"),
        ({"objects": ("sr", "findings")}, "Comprehensive 3D SR Storage (objects: findings)"),
    ],
)
def test_what_a_pacs_will_be_asked_and_does_not_take_is_named_with_its_setting(
    setting: dict[str, Any], words: str, changed: Changed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pynetdicom._config, "UNRESTRICTED_STORAGE_SERVICE", False)
    taken = [build_context(VERIFICATION), build_context("1.2.840.10008.5.1.4.1.1.88.11")]
    with LoopbackPacs(tmp_path / "pacs", contexts=taken) as pacs:
        diagnosis = found(changed(pacs=(pacs_at(pacs.port, **setting),)), "PACS main")
    assert diagnosis.verdict == Verdict.FAULT
    assert words in diagnosis.words
    assert "Basic Text" not in diagnosis.words


def test_a_ris_that_keeps_silent_is_no_ris(changed: Changed, ris: LoopbackRis) -> None:
    ris.reply = keep_silent
    diagnosis = found(changed(ris=(ris_at(ris.port, timeout_s=0.5),)), "RIS main")
    assert diagnosis.verdict == Verdict.FAULT
    assert "did not acknowledge" in diagnosis.words


def test_a_ris_without_tls_is_told_from_one_with_it(changed: Changed, ris: LoopbackRis, tmp_path: Path) -> None:
    tls = Authority(tmp_path / "certificates").issue("node")
    diagnosis = found(changed(ris=(ris_at(ris.port, tls=tls, timeout_s=0.5),)), "RIS main")
    assert diagnosis.verdict == Verdict.FAULT
    assert "no TLS" in diagnosis.words


def test_terms_that_were_not_accepted_are_said(changed: Changed, tmp_path: Path) -> None:
    write_tiny_model(folder := tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "licence": "research-only"}))
    write_manifest(folder)
    diagnosis = found(changed(model_dir=folder), "licence")
    assert (diagnosis.verdict, "accept_research_only_terms" in diagnosis.fix) == (Verdict.FAULT, True)


@pytest.fixture
def real_model(tmp_path: Path) -> Path:
    """A model for patients, by its licence."""
    write_tiny_model(folder := tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "licence": "free"}))
    write_manifest(folder)
    return folder


def test_a_real_model_on_processors_is_given_the_time(changed: Changed, real_model: Path) -> None:
    short = found(changed(model_dir=real_model), "GPU")
    assert (short.verdict, "each is given up after 120 s" in short.words) == (Verdict.WARNING, True)
    assert "inference_timeout_s = 900" in short.fix

    long = found(changed(model_dir=real_model, inference_timeout_s=900), "GPU")
    # As in the container of the page, where the worker's card is not seen.
    words = "none is seen from here; where the worker sees none either, a draft takes minutes"
    assert (long.verdict, long.words) == (Verdict.WARNING, words)
    assert "inference_timeout_s" not in long.fix


@pytest.mark.parametrize(("room", "verdict"), [(1.2, Verdict.FAULT), (1.3, Verdict.OK)])
def test_a_card_holds_the_model_and_a_draft(
    changed: Changed, real_model: Path, monkeypatch: pytest.MonkeyPatch, room: float, verdict: Verdict
) -> None:
    memory = (real_model / "model.safetensors").stat().st_size * room
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (memory, memory))
    assert found(changed(model_dir=real_model), "GPU").verdict == verdict


def test_a_model_that_cannot_be_read_is_named(changed: Changed, tmp_path: Path) -> None:
    write_tiny_model(folder := tmp_path / "model")
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()  # root may read every file
    diagnosis = found(changed(model_dir=folder), "model")
    assert (diagnosis.verdict, "cannot be read" in diagnosis.words) == (Verdict.FAULT, True)
    assert "read the folder" in diagnosis.fix


def test_a_model_that_was_changed_is_named(changed: Changed, tmp_path: Path) -> None:
    write_tiny_model(folder := tmp_path / "model")
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"x")
    diagnosis = found(changed(model_dir=folder), "model")
    assert (diagnosis.verdict, "model.safetensors" in diagnosis.words) == (Verdict.FAULT, True)


def test_a_clock_that_was_set_back_is_found_by_the_newest_row(changed: Changed, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        study = add_study(session)
        at = utc_now() + timedelta(hours=1)
        session.add(Transition(row_kind="study", row_id=study.id, at=at, old="", new="receiving", reason=""))
    diagnosis = found(changed(), "clock")
    assert (diagnosis.verdict, "the clock was set back" in diagnosis.words) == (Verdict.FAULT, True)


def test_a_database_without_tables_is_no_fault_yet(changed: Changed, tmp_path: Path) -> None:
    diagnosis = found(changed(data_dir=tmp_path / "new"), "database")
    assert (diagnosis.verdict, diagnosis.words) == (Verdict.WARNING, "sqlite answers, and has no tables yet")


def test_a_schema_of_before_is_told_from_none(changed: Changed) -> None:
    settings = changed()
    engine = open_database(settings)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    assert "revision 0001" in found(settings, "database").words


def test_redis_that_forgets_is_warned_of(changed: Changed, redis_url: str) -> None:
    settings = changed(broker_url=SecretStr(redis_url))
    assert found(settings, "broker").verdict == Verdict.OK


def test_postgres_is_asked_for_its_time(settings: Settings, postgres_url: str, postgres_sessions: Sessions) -> None:
    there = settings.model_copy(update={"database_url": SecretStr(postgres_url)})
    assert found(there, "database").words == "postgresql answers, its schema is current"
    assert found(there, "clock").verdict == Verdict.OK


def test_a_fault_is_an_exit_status_and_json_says_all(changed: Changed, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(changed(), as_json=True) == 0
    lines = json.loads(capsys.readouterr().out)
    assert {"what", "verdict", "words", "fix"} == lines[0].keys()
    assert command.run(changed(min_free_bytes=10**18), as_json=False) == 1
    assert "make room" in " ".join(capsys.readouterr().out.split())


def test_the_table_cuts_no_value_short(
    changed: Changed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    file = f"/etc/{'X' * 100}/authorities.pem"
    monkeypatch.setattr(command, "diagnose", lambda _: [fault("tls", f"{file} is no certificate", "see to it")])
    command.run(changed(), as_json=False)
    shown = capsys.readouterr().out
    assert (shown.count("X"), "…" in shown) == (100, False)


def test_the_table_shows_brackets_as_they_are(changed: Changed, capsys: pytest.CaptureFixture[str]) -> None:
    command.run(changed(), as_json=False)
    assert "[[pacs]]" in capsys.readouterr().out
