"""Where settings come from, which wins, and what an error tells."""

from collections.abc import Iterator
from errno import EACCES
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import make_url

from dicom_node.config import Settings
from dicom_node.errors import Permanent
from dicom_node.peers import DicomDestination, PeerAddress
from dicom_node.setting_faults import _SECRET, in_words, no_json
from dicom_node.setting_sources import CONFIG_FILE_VARIABLE, SECRETS_FOLDER_VARIABLE

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example"}
RIS = {"name": "ris", "host": "ris.example"}


def models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from models_below(part)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


@pytest.mark.parametrize("model", sorted(set(models_below(Settings)), key=lambda each: each.__name__))
def test_every_setting_has_a_sentence(model: type[BaseModel]) -> None:
    silent = [name for name, field in model.model_fields.items() if not (field.description or "").endswith(".")]
    assert silent == []


def test_settings_are_frozen(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 104


def test_the_defaults_receive_from_this_machine_only() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.ae_title) == ("127.0.0.1", 11112, "CXRNODE")
    assert (settings.peers, settings.destination_names) == ({}, ())
    assert settings.sqlalchemy_url == f"sqlite:///{Path('var/node.sqlite').absolute()}"


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "node.toml"
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(file))
    return file


def test_settings_are_read_from_the_file(toml: Path) -> None:
    toml.write_text(
        """
        ae_title = "SITE"
        [peers.MODALITY]
        addresses = ["10.0.0.0/8"]
        assume_chest = true
        [[pacs]]
        name = "pacs"
        ae_title = "PACS"
        host = "pacs.example"
        [[ris]]
        name = "ris"
        host = "ris.example"
        """
    )
    settings = Settings()
    assert settings.ae_title == "SITE"
    assert settings.pacs == (DicomDestination(name="pacs", ae_title="PACS", host="pacs.example", port=104),)
    assert settings.destination_names == ("pacs", "ris")
    assert settings.peer("MODALITY").addresses == (ip_network("10.0.0.0/8"),)
    assert settings.peer("MODALITY").assume_chest
    assert not settings.peer("OTHER").assume_chest


def test_a_folder_may_be_named_from_the_home(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/node")
    toml.write_text('data_dir = "~/x"\n[http_tls]\ncertificate = "~/own.pem"\nkey = "/key.pem"\n')
    settings = Settings()
    assert settings.data_dir == Path("/home/node/x")
    assert settings.http_tls is not None
    assert settings.http_tls.certificate == Path("/home/node/own.pem")


def test_the_environment_wins_over_the_file_and_an_argument_over_both(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('ae_title = "FILE"\nport = 1\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("DICOM_NODE_AE_TITLE", "VARIABLE")
    monkeypatch.setenv("DICOM_NODE_PORT", "2")
    settings = Settings(port=3)
    assert (settings.host, settings.ae_title, settings.port) == ("0.0.0.0", "VARIABLE", 3)


def test_lists_and_tables_come_as_json_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_NODE_PEERS", '{"MODALITY": {"addresses": ["10.0.0.1"]}}')
    monkeypatch.setenv("DICOM_NODE_RIS", '[{"name": "ris", "host": "ris.example"}]')
    settings = Settings()
    assert settings.peer("MODALITY").addresses == (ip_network("10.0.0.1"),)
    assert settings.ris[0].port == 2575


def test_one_part_of_a_table_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CERTIFICATE", "KEY", "CA"):
        monkeypatch.setenv(f"DICOM_NODE_TLS__{name}", f"/{name}")
    tls = Settings().tls
    assert tls is not None
    assert tls.key == Path("/KEY")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("ae_title", "A" * 17, "at most 16 characters"),
        ("ae_title", "BACK\\SLASH", "should match pattern"),
        ("ae_title", "  ", "at least 1 character"),
        ("port", 65_536, "less than or equal to 65535"),
        ("idle_timeout_s", 0, "greater than 0"),
        ("disclaimer", "", "at least 20 characters"),
        ("processing_id", "X", "'P', 'T' or 'D'"),
        ("max_pdu_bytes", 1, "greater than or equal to 4096"),
        ("traces_endpoint", "https://CANARY:CANARY@otel/v1/traces", "without user and password: the page shows it"),
        ("typo", "CANARY", "Extra inputs are not permitted"),
    ],
)
def test_an_error_names_the_field_and_what_was_expected(field: str, value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**{field: value})
    error = caught.value.errors()[0]
    assert error["loc"] == (field,)
    assert words in error["msg"]
    assert "input_value" not in str(caught.value)


def told(text: str, toml: Path) -> str:
    """What the command line says of a settings' file."""
    toml.write_text(text)
    with pytest.raises(ValidationError) as caught:
        Settings()
    return in_words(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[peers.CT1]\naddresses = ["10.1.0.5/16"]',
            "setting peers.CT1.addresses.0 = '10.1.0.5/16': expected 10.1.0.0/16 for all of these, or 10.1.0.5 for",
        ),
        ('hl7_senders = ["ris"]', "setting hl7_senders.0 = 'ris': expected addresses such as 10.1.0.0/16, or one"),
        ('http_published_at = "here"', "setting http_published_at = 'here': expected an address such as 10.1.0.5"),
        ('[pacs]\nname = "pacs"', "setting pacs: expected a list of tables: [[pacs]], in double brackets"),
        ("idle_timeot_s = 5", "setting idle_timeot_s: there is no such setting: did you mean idle_timeout_s?"),
        (
            '[[ris]]\nname = "r"\nhost = "h"\nversio = "2.4"',
            "setting ris.0.versio: there is no such setting: did you mean version?",
        ),
        ("[completeness]\nhl7_port = 1", "setting completeness.hl7_port: a key of the top level: it stands above"),
        ("port = 70000", "setting port = 70000: Input should be less than or equal to 65535"),
        *(
            (
                f'[[ris]]\nname = "r"\nhost = "{host}"',
                f"setting ris.0.host = '{host}': expected a host name or an address",
            )
            for host in ("ris..example", f"{'x' * 64}.example", "", " ris", "ris.example/x")
        ),
        ('time_zone = "Berlin"', "setting time_zone = 'Berlin': expected an IANA name such as Europe/Berlin"),
    ],
)
def test_an_error_tells_the_value_what_was_expected_and_the_file(text: str, words: str, toml: Path) -> None:
    sentences = told(text, toml)
    assert words in sentences
    assert f"(settings were read from {toml})" in sentences


@pytest.mark.parametrize(
    "text",
    [
        'database_url = "CANARY"',
        'database_passwrd = "CANARY"',
        'metrics_token = "CANARY"',
        '[stow_clients]\nA = "CANARY"',
        '[[notify]]\nname = "CANARY"\nurl = 5',
        '[notify]\nurl = "CANARY"',
        'traces_endpoint = "https://u:CANARY@otel"',
        '[[ris]]\ntoken = "CANARY"',
    ],
)
def test_an_error_tells_no_secret(text: str, toml: Path) -> None:
    assert "CANARY" not in told(text, toml)


def test_no_secret_is_outside_of_those_that_are_never_told() -> None:
    secrets = {
        name
        for name, field in Settings.model_fields.items()
        for part in _parts(field.annotation)
        if part is SecretStr or (isinstance(part, type) and issubclass(part, BaseModel) and _has_secret(part))
    }
    assert secrets <= _SECRET


def _has_secret(model: type[BaseModel]) -> bool:
    fields = [field for each in models_below(model) for field in each.model_fields.values()]
    return any(part is SecretStr for field in fields for part in _parts(field.annotation))


def test_a_file_that_begins_with_a_bom_is_read(toml: Path) -> None:
    toml.write_bytes(b'\xef\xbb\xbfae_title = "SITE"\n')
    assert Settings().ae_title == "SITE"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'sending_facility = "Z\xfcrich"', "line 1, is not UTF-8"), (b"port = \n", "is no TOML: Invalid value")],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes, words: str, toml: Path) -> None:
    toml.write_bytes(content)
    with pytest.raises(Permanent, match=words) as caught:
        Settings()
    assert str(toml) in str(caught.value)


@pytest.mark.parametrize("name", ["DICOM_NODE_PROT", "DICOM_NODE_TSL__KEY", "dicom_node_prot"])
def test_a_variable_that_names_no_setting_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "CANARY")
    with pytest.raises(Permanent, match=rf"variable {name} names no setting: did you mean (port|tls)\?") as caught:
        Settings()
    assert "CANARY" not in str(caught.value)


def test_variables_that_are_empty_or_not_for_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_NODE_NONSENSE", "")
    monkeypatch.setenv("DICOM_NODE_TAG", "0.1.0")
    Settings()


def test_an_error_names_the_place_in_a_table(toml: Path) -> None:
    toml.write_text('[[pacs]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs.example"\nport = "CANARY"\n')
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert caught.value.errors()[0]["loc"] == ("pacs", 0, "port")
    assert "CANARY" not in str(caught.value)


def test_secrets_do_not_show() -> None:
    settings = Settings(database_url="postgresql+psycopg://u:CANARY@h/d", broker_url="redis://:CANARY@h")
    assert "CANARY" not in f"{settings!r} {settings}"
    assert settings.sqlalchemy_url == "postgresql+psycopg://u:CANARY@h/d"


@pytest.mark.parametrize(
    "url", ["CANARY", "postgres://u:CANARY@h/d", "postgresql://u:CANARY@h/d", "postgresql+psycopg://u:p@h:CANARY/d"]
)
def test_a_database_that_is_none_is_an_error_that_does_not_quote_its_password(url: str) -> None:
    with pytest.raises(ValidationError, match=r"begins with postgresql\+psycopg://… or sqlite://…") as caught:
        Settings(database_url=url)
    assert caught.value.errors()[0]["loc"] == ("database_url",)
    assert "CANARY" not in str(caught.value)


@pytest.fixture
def secrets_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv(SECRETS_FOLDER_VARIABLE, str(folder))
    return folder


def test_secrets_are_read_from_files(secrets_folder: Path) -> None:
    (secrets_folder / "dicom_node_metrics_token").write_text("CANARY-CANARY-CANARY\n")
    token = Settings().metrics_token
    assert token is not None
    assert token.get_secret_value() == "CANARY-CANARY-CANARY"


def test_a_secret_file_that_names_no_setting_is_refused(secrets_folder: Path) -> None:
    (secrets_folder / "grafana_password").touch()  # another program's
    (secrets_folder / "dicom_node_metrics_token.new").touch()  # still being made
    Settings()
    (secrets_folder / "dicom_node_databse_password").write_text("CANARY")
    with pytest.raises(Permanent, match=r"databse_password names no setting: did you mean database_password\?"):
        Settings()


def test_a_variable_goes_before_a_secret_file(secrets_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets_folder / "dicom_node_ae_title").write_text("FILE")
    monkeypatch.setenv("DICOM_NODE_AE_TITLE", "VARIABLE")
    assert Settings().ae_title == "VARIABLE"


def test_a_folder_of_secrets_that_nobody_may_list_is_an_error(
    secrets_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(_: Path) -> Iterator[Path]:
        raise PermissionError(EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(Permanent, match=r"secrets, which cannot be listed: Permission denied"):
        Settings()


def test_a_folder_of_secrets_that_is_absent_is_an_error(secrets_folder: Path) -> None:
    secrets_folder.rmdir()
    with pytest.raises(Permanent, match="expected a folder"):
        Settings()


def test_the_password_of_the_database_needs_no_escaping() -> None:
    settings = Settings(database_url="postgresql+psycopg://node@db/node", database_password="a p@ss/w:ord%$1#")
    assert make_url(settings.sqlalchemy_url).password == "a p@ss/w:ord%$1#"
    assert "p@ss" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    "destinations",
    [{"pacs": [PACS, PACS]}, {"ris": [RIS, RIS]}, {"pacs": [PACS], "ris": [{**RIS, "name": "pacs"}]}],
)
def test_two_destinations_of_one_name_are_refused(destinations: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="destination names must differ, got"):
        Settings(**destinations)


@pytest.mark.parametrize("name", ["", "PACS", "1pacs", "a b", "a" * 32])
def test_the_name_of_a_destination_is_a_key(name: str) -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        Settings(pacs=[{**PACS, "name": name}])


def test_a_variable_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_NODE_PEERS", "{CANARY")
    with pytest.raises(SettingsError) as caught:
        Settings()
    said = no_json(caught.value)
    assert said.startswith("DICOM_NODE_PEERS is no JSON, as lists and tables are written there: Expecting")
    assert said.endswith("line 1 column 2 (char 1)")
    assert "CANARY" not in said


def test_a_named_settings_file_that_is_absent_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(tmp_path / "absent.toml"))
    with pytest.raises(Permanent, match=r"absent\.toml"):
        Settings()


@pytest.mark.parametrize(
    "host", ["pacs", "pacs_1.example.", "10.1.0.5", "2001:db8::5", "fe80::1%eth0", "röntgen.example"]
)
def test_what_the_system_may_know_is_a_host(host: str) -> None:
    assert PeerAddress(host=host, port=104).host == host
