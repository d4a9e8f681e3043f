"""Settings: read once at an entry point, frozen, handed down. Units end the names.

Sources, the first wins: environment variables `DICOM_NODE_<FIELD>` that are not empty (nested fields with two
underscores, lists and tables as JSON), then the TOML file named by `DICOM_NODE_CONFIG`
(default `dicom-node.toml` in the working directory).
"""

import os
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from dicom_node.errors import Permanent

# PS3.5 6.2, VR AE: 16 characters at most, no backslash, no control character.
AeTitle = Annotated[
    str, StringConstraints(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$", strip_whitespace=True)
]
Port = Annotated[int, Field(ge=0, le=65535)]
# The name of a destination is a key in the database and in logs.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]

CONFIG_FILE_VARIABLE = "DICOM_NODE_CONFIG"
DISCLAIMER = (
    "PRELIMINARY AI-GENERATED DRAFT. Not reviewed by a radiologist. Research use only. "
    "Not for diagnostic use without review and confirmation by a qualified physician."
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Tls(_Frozen):
    """Certificates of one end of a TLS connection (PEM files). Both ends show a certificate (PS3.15 B.9, B.10)."""

    certificate: Path = Field(description="PEM file with this end's certificate chain.")
    key: Path = Field(description="PEM file with its private key.")
    ca: Path = Field(description="PEM file with the authorities that may sign the other end's certificate.")


class Peer(_Frozen):
    """One calling AE title that may send to this node, and what the site vouches for on its behalf."""

    addresses: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="Addresses it may come from (CIDR). Empty: any address."
    )
    assume_chest: bool = Field(
        default=False, description="Images from it whose header names no body part are chest images."
    )
    assume_frontal: bool = Field(
        default=False, description="Images from it whose header names no view are frontal (PA or AP)."
    )


class DicomDestination(_Frozen):
    """A PACS that takes the Structured Report by C-STORE."""

    name: Name = Field(description="Its name in the database, in logs and in the timeline.")
    ae_title: AeTitle = Field(description="Its AE title.")
    host: str = Field(description="Its host name or address.")
    port: Port = Field(default=104, description="Its DICOM port.")
    timeout_s: float = Field(default=30.0, gt=0, description="Longest wait for a connection or an answer.")
    tls: Tls | None = Field(default=None, description="Speak DICOM TLS with these certificates.")


class MllpDestination(_Frozen):
    """A RIS that takes the ORU^R01 over MLLP."""

    name: Name = Field(description="Its name in the database, in logs and in the timeline.")
    host: str = Field(description="Its host name or address.")
    port: Port = Field(default=2575, description="Its MLLP port.")
    timeout_s: float = Field(default=30.0, gt=0, description="Longest wait for a connection or an acknowledgement.")
    receiving_application: str = Field(default="RIS", max_length=180, description="MSH-5.")
    receiving_facility: str = Field(default="HOSPITAL", max_length=180, description="MSH-6.")
    result_status: Literal["P", "R"] = Field(
        default="P", description="OBR-25 and OBX-11: P preliminary, R stored and not verified (HL7 tables 0123, 0085)."
    )
    tls: Tls | None = Field(default=None, description="Speak MLLP over TLS with these certificates.")


class Settings(BaseSettings):
    """Everything an administrator can set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix="DICOM_NODE_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
    )

    # Where things lie
    data_dir: Path = Field(default=Path("var"), description="Folder of received images and of the embedded database.")
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL URL (postgresql+psycopg://…). None: SQLite in data_dir."
    )
    broker_url: SecretStr | None = Field(
        default=None, description="Redis URL of the Celery broker. None: workers look at the job table."
    )
    model_dir: Path | None = Field(
        default=None,
        description="Folder of safetensors, config and tokenizer. None: the test model that ships.",
    )
    accept_research_only_terms: bool = Field(
        default=False,
        description="You accept that LLaVA-Rad's published weights are for non-commercial research only, not for care.",
    )

    # Receiving
    ae_title: AeTitle = Field(default="CXRNODE", description="This node's AE title, called and calling.")
    host: str = Field(default="127.0.0.1", description="Address the DICOM port binds to.")
    port: Port = Field(default=11112, description="DICOM port. 0: any free port.")
    tls: Tls | None = Field(default=None, description="Receive by DICOM TLS with these certificates.")
    peers: dict[AeTitle, Peer] = Field(
        default_factory=dict,
        description="Calling AE titles that may come in. Empty: any title, but from this machine only.",
    )
    max_associations: int = Field(
        default=50, ge=1, description="Associations at once; more are refused, to be tried later."
    )
    max_associations_per_peer: int = Field(
        default=25, ge=1, description="Of these, for one calling AE title, so that no sender shuts the others out."
    )
    receive_path: Literal["fast", "plain"] = Field(
        default="fast",
        description="fast: objects go from the socket straight to their file (Linux). plain: pynetdicom's own way.",
    )
    max_pdu_bytes: int = Field(default=131_072, ge=4_096, le=1_048_576, description="Largest PDU received (PS3.8 D.1).")
    network_timeout_s: float = Field(default=60.0, gt=0, description="Longest silence of a peer within an association.")
    idle_timeout_s: float = Field(default=30.0, gt=0, description="A study is complete when quiet for so long.")
    min_free_bytes: int = Field(
        default=1_000_000_000,
        ge=0,
        description="Free disk kept back: C-STORE answers A700 before it is touched, associations are refused after.",
    )

    # Reading
    inference_timeout_s: float = Field(
        default=120.0, gt=0, description="Longest time for one draft; then the model restarts."
    )
    inference_threads: int = Field(default=2, ge=1, description="Studies a worker handles at once.")
    max_job_attempts: int = Field(default=3, ge=1, description="Tries at drafting one study.")
    max_new_tokens: int = Field(default=256, ge=1, le=1024, description="Longest draft, tokens.")

    # Telling
    pacs: tuple[DicomDestination, ...] = Field(default=(), description="Where Structured Reports go.")
    ris: tuple[MllpDestination, ...] = Field(default=(), description="Where ORU messages go.")
    max_delivery_attempts: int = Field(
        default=100, ge=1, description="Tries at delivering one report to one destination."
    )
    retry_after_s: float = Field(
        default=10.0, gt=0, description="Wait after the first failed delivery; doubles each time."
    )
    max_retry_after_s: float = Field(default=1_800.0, gt=0, description="Longest wait between two tries.")
    disclaimer: str = Field(
        default=DISCLAIMER, min_length=20, description="First line of every report. Cannot be empty."
    )
    sending_application: str = Field(default="CXRNODE", max_length=180, description="MSH-3.")
    sending_facility: str = Field(default="RADIOLOGY", max_length=180, description="MSH-4.")
    processing_id: Literal["P", "T", "D"] = Field(default="P", description="MSH-11: production, training or debugging.")
    time_zone: str = Field(
        default="UTC", description="IANA name of the site's time zone, for dates and times in reports."
    )

    # All roles
    poll_interval_s: float = Field(
        default=1.0, gt=0, description="How often sweep, worker and relay look for due rows."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO",
        description="Least level that is logged. DEBUG adds libraries' own words, which may name patients.",
    )

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("expected an IANA name such as Europe/Berlin")
        return name

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Settings":
        names = self.destination_names
        if len(set(names)) != len(names):
            raise ValueError(f"destination names must differ, got {', '.join(names)}")
        return self

    @property
    def destination_names(self) -> tuple[str, ...]:
        return (*(each.name for each in self.pacs), *(each.name for each in self.ris))

    @property
    def sqlalchemy_url(self) -> str:
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'node.sqlite'}"

    @property
    def instances_dir(self) -> Path:
        return self.data_dir / "instances"

    @property
    def checkpoint_dir(self) -> Path:
        return self.model_dir or Path(str(files("workers.phantom"))) / "model"

    def peer(self, calling_ae: str) -> Peer:
        """What is known of a calling AE title; an unlisted one is vouched for by nobody."""
        return self.peers.get(calling_ae, Peer())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _config_file())


def _config_file() -> Path:
    """The variable that names the file is the one thing read from the environment outside pydantic."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named and not Path(named).is_file():
        raise Permanent(f"{CONFIG_FILE_VARIABLE} names {named}, expected a TOML file")
    return Path(named or "dicom-node.toml")
