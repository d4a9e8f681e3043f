"""The conformance statement is made from code and settings, and the one in deploy/ is the one of the defaults."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from difflib import unified_diff
from io import BytesIO
from pathlib import Path
from types import ModuleType

import page_samples
import pytest
from pydicom import dcmread
from report_samples import LABELS, make_document
from typer.testing import CliRunner

from dicom_node import audit_messages
from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.peers import MllpDestination
from dicom_node.receive import admission, commitment, commitment_answer, commitment_result, intake, listener, normalized
from dicom_node.states import DeliveryKind
from integration import acknowledgement
from integration.charset import is_known, parse_terms
from integration.conformance import configured
from integration.conformance.markdown import binary, table, words_of
from integration.conformance.products import PRODUCTS, Product
from integration.conformance.statement import facts, template, write_statement
from integration.history import SentObject
from integration.objects import ENCODERS, encoder
from integration.oru import build_oru

DEPLOYED = (Path(__file__).parents[2] / "deploy/conformance.md").read_text(encoding="utf-8")
SECRET = "CANARY-0123456789"
PACS = {"name": "archive", "ae_title": "ARCHIVE", "host": "10.1.0.5"}
RIS = {"name": "ris", "host": "10.1.0.9"}
# Told by tables of their own.
GROUPS = {"peers", "completeness", "sources", "pacs", "ris", "hl7_paths"}
# No business of a peer: secrets, folders, and how the node works inside.
LEFT_OUT = {
    "data_dir", "database_url", "broker_url", "model_dir", "accept_research_only_terms", "receive_path",
    "receive_processes", "inference_timeout_s", "inference_threads", "max_job_attempts", "poll_interval_s", "log_level",
    "page_plain_http", "page_idle_s", "metrics_token", "page_url", "http_published_at", "oidc", "audit_syslog",
    "traces_endpoint", "retention", "notify", "alarms", "rules_file", "database_password", "http_proxies",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_settings_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever lies where the tests are run from."""
    monkeypatch.chdir(tmp_path)


# Document and code


def test_the_statement_in_deploy_is_the_one_of_the_default_settings() -> None:
    changes = unified_diff(DEPLOYED.splitlines(), write_statement(Settings()).splitlines(), "deploy/", "code", n=0)
    assert list(changes) == [], "deploy/conformance.md is not what the code says: write it anew by `make conformance`"


def test_every_fact_has_its_place_in_the_statement() -> None:
    assert set(template().get_identifiers()) == set(facts(Settings()))


def test_a_status_that_is_added_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = {**intake.STATUSES, 0xA7FE: ("Out of resources", "the moon is full")}
    monkeypatch.setattr(intake, "STATUSES", statuses)
    assert "\n| A7FE Out of resources | the moon is full |\n" in only_added(write_statement(Settings()))


def test_a_rejection_that_is_added_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    new = admission.Rejection(2, 3, 1, "the moon is full")
    monkeypatch.setattr(admission, "MOON", new, raising=False)
    assert "\n| 2/3/1 | the moon is full |\n" in only_added(write_statement(Settings()))


def test_a_limit_that_changes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MOST_SILENT", 65)
    assert "65 (in all 256) that have asked for nothing yet" in only_added(write_statement(Settings()))


def test_a_setting_that_changes_is_told() -> None:
    assert "\n| `ae_title` | CHESTNODE |" in only_added(write_statement(Settings(ae_title="CHESTNODE")))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (intake, intake.STATUSES),
        (normalized, normalized.STATUSES),
        (commitment_result, commitment_result.FAILURE_REASONS),
        (commitment, commitment.STATUSES),
        (commitment_answer, commitment_answer.STATUSES),
    ],
)
def test_every_status_of_a_service_has_words(module: ModuleType, words: Mapping[int, object]) -> None:
    public = {name: value for name, value in vars(module).items() if name.isupper() and not name.startswith("_")}
    # Small numbers are success, action and event types.
    statuses = {value for value in public.values() if isinstance(value, int) and value > 0xFF}
    assert statuses == set(words) - {0}


def test_every_error_condition_has_words() -> None:
    assert {condition for _, condition, _ in acknowledgement.REFUSALS} == set(acknowledgement.CONDITIONS)


def test_every_event_of_the_audit_trail_is_told() -> None:
    codes = {
        each[:2] for each in vars(audit_messages).values() if isinstance(each, tuple) and each[1:2] != ("RFC-3881",)
    }
    events = {code for code, scheme in codes if scheme != "DCM" or code < "110150"}  # from there on: roles, identifiers
    assert {code for code in events if f" {code}" not in DEPLOYED} == set()


def test_every_character_set_that_is_stated_is_read() -> None:
    stated = facts(Settings())["read_character_sets"].split(", ")
    assert {"ISO_IR 192", "ISO_IR 100", "ISO 2022 IR 87", "GB18030"} <= set(stated)
    assert all(is_known(parse_terms(each)) and parse_terms(each) == (each,) for each in stated)


# Objects and messages


def test_every_object_that_can_be_sent_is_told() -> None:
    assert {each.kind for each in PRODUCTS} == set(ENCODERS)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda each: str(each.kind))
def test_an_object_is_what_the_statement_says(product: Product, tmp_path: Path) -> None:
    document = page_samples.draft(tmp_path, labels=LABELS)
    if product.kind == DeliveryKind.REJECTION:
        sent = SentObject("1.2.840.10008.5.1.4.1.1.88.11", "1.2.3", "1.2.4")
        document = replace(document, sent=(sent,), withdrawn_at=datetime(2026, 8, 1, 22, 30, tzinfo=UTC))
    ds = dcmread(BytesIO(encoder(product.kind)(document, page_samples.PACS).payload))
    assert ds.SOPClassUID == product.sop_classes[0]
    said = (ds.Modality, str(ds.SeriesNumber), ds.SeriesDescription)
    assert said == (product.modality, product.series_number, product.series_description)


def test_the_segments_of_a_message_are_those_of_the_statement() -> None:
    segments = [line[:3] for line in build_oru(make_document(), MllpDestination(**RIS)).split("\r") if line]
    assert f"`{' '.join(dict.fromkeys(segments))}…`" in DEPLOYED


# As configured


def test_what_a_pacs_is_sent_and_asked_is_told_with_its_name() -> None:
    pacs = [
        {**PACS, "objects": ["sr", "findings"], "sr_class": "enhanced", "commitment": True},
        {**PACS, "name": "viewer", "objects": ["pdf"], "rejection_notes": True, "ask_before_sending": True},
    ]
    sources = [{"name": "old", "ae_title": "OLD", "host": "h", "retrieve": "get"}]
    rows = services(Settings(pacs=pacs, sources=sources))
    assert rows["Basic Text SR Storage", "`objects` with `sr`, `sr_class`"] == "–"
    assert rows["Enhanced SR Storage", "`objects` with `sr`, `sr_class`"] == "archive"
    assert rows["Comprehensive 3D SR Storage", "`objects` with `findings`"] == "archive"
    assert rows["Encapsulated PDF Storage", "`objects` with `pdf`"] == "viewer"
    assert rows["Key Object Selection Document Storage", "`rejection_notes`"] == "viewer"
    assert rows["Storage Commitment Push Model SOP Class", "`commitment`"] == "archive"
    assert rows["Study Root Query/Retrieve Information Model - FIND", "`ask_before_sending`"] == "viewer"
    assert rows["Study Root Query/Retrieve Information Model - FIND", "`sources`"] == "old"
    assert rows["Study Root Query/Retrieve Information Model - MOVE", "`sources`, `retrieve`"] == "–"
    assert rows["Study Root Query/Retrieve Information Model - GET", "`sources`, `retrieve`"] == "old"


def test_services_that_are_switched_off_are_told_as_such() -> None:
    rows = services(Settings(completeness={"on_mpps": False, "on_availability": True}))
    assert rows["Modality Performed Procedure Step SOP Class", "`on_mpps`"] == "no"
    assert rows["Instance Availability Notification SOP Class", "`on_availability`"] == "yes"


def test_destinations_stand_side_by_side() -> None:
    ris = [{**RIS, "version": "2.3.1"}, {**RIS, "name": "archive", "result_status": "R", "character_set": "8859/1"}]
    told = configured.configured_facts(Settings(ris=ris))["ris_settings"]
    assert told.startswith("| setting | ris | archive | meaning |\n")
    assert "\n| `version` | 2.3.1 | 2.5.1 | MSH-12." in told
    assert "\n| `result_status` | P | R |" in told
    assert "\n| `character_set` | UNICODE UTF-8 | 8859/1 |" in told


def test_peers_are_told_with_what_the_site_vouches_for() -> None:
    tls = dict.fromkeys(("certificate", "key", "ca"), "/etc/pki/CANARY.pem")
    at = {"host": "10.1.0.7", "port": 11112, "tls": tls}
    peers = {"CR1": {"addresses": ["10.1.0.0/16"], "listens_at": at, "assume_chest": True}}
    told = write_statement(Settings(peers=peers))
    assert "\n| setting | CR1 | meaning |\n" in told
    assert "\n| `addresses` | 10.1.0.0/16 |" in told
    assert "\n| `listens_at` | host 10.1.0.7; port 11112; tls yes |" in told
    assert "\n| `assume_chest` | yes |" in told
    assert "CANARY" not in told


def test_where_there_are_no_peers_it_is_told_who_may_come_in() -> None:
    told = configured.configured_facts(Settings())["peers_settings"]
    assert told.startswith("`peers`: empty. ")
    assert told.endswith("Empty: any title, but from this machine only.")


def test_no_secret_is_told() -> None:
    settings = Settings(
        database_url=f"postgresql+psycopg://node:{SECRET}@db/node",
        broker_url=f"redis://:{SECRET}@redis",
        stow_clients={"GATEWAY": SECRET},
        data_dir=Path("/srv/CANARY"),
    )
    told = write_statement(settings)
    assert "| `stow_clients` | GATEWAY |" in told
    assert "CANARY" not in told


def test_every_setting_is_told_or_left_out_on_purpose() -> None:
    told = {*configured.RECEIVING, *configured.WEB, *configured.HL7, *configured.TELLING}
    assert told | GROUPS | LEFT_OUT == set(Settings.model_fields)
    assert not told & (GROUPS | LEFT_OUT)


# Markdown


def test_a_value_stays_within_its_cell() -> None:
    assert table(("a",), [("one|two\n| three",)]).splitlines() == ["| a |", "|---|", "| one\\|two \\| three |"]


def test_values_are_told_in_the_words_of_their_descriptions() -> None:
    assert [words_of(each) for each in (None, (), True, 60.0, 0.25, 11112, ("a", "b"))] == [
        "None", "empty", "yes", "60", "0.25", "11112", "a, b",
    ]  # fmt: skip


def test_sizes_are_told_in_the_largest_unit_that_fits() -> None:
    assert [binary(each) for each in (4 * 1024**3, 16 * 1024**2, 8 * 1024, 1000)] == [
        "4 GiB", "16 MiB", "8 KiB", "1000 bytes",
    ]  # fmt: skip


# The command


def test_the_command_prints_the_statement() -> None:
    result = CliRunner().invoke(app, ["conformance"])
    assert (result.exit_code, result.stdout) == (0, write_statement(Settings()))


def test_the_command_writes_the_statement_of_the_settings_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOM_NODE_AE_TITLE", "CHESTNODE")
    result = CliRunner().invoke(app, ["conformance", "--output", str(tmp_path / "statement.md")])
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "statement.md").read_text(encoding="utf-8") == write_statement(Settings(ae_title="CHESTNODE"))


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["conformance", "--output", str(tmp_path)])
    assert str(result.exception) == f"{tmp_path} cannot be written: Is a directory"


def only_added(statement: str) -> str:
    """The lines that the statement in deploy/ does not have: where there are any, its test fails."""
    return "\n".join(["", *(line for line in statement.splitlines() if line not in DEPLOYED.splitlines()), ""])


def services(settings: Settings) -> dict[tuple[str, str], str]:
    """By the name of the SOP class, as SCU or SCP, and the setting: as configured."""
    rows = [line.strip("| ").split(" | ") for line in facts(settings)["services"].splitlines()[2:]]
    return {(row[2].rsplit(" ", 1)[0], row[3].strip()): row[4] for row in rows}
