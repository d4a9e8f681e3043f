"""Settings: read once at an entry point, frozen, handed down. Units end the names.

Sources, the first wins: environment variables `DICOM_NODE_<FIELD>` that are not empty (nested fields with two
underscores, lists and tables as JSON), files `dicom_node_<field>` in the folder named by `DICOM_NODE_SECRETS`, then
the TOML file named by `DICOM_NODE_CONFIG` (default `dicom-node.toml` in the working directory).
"""

from importlib.resources import files
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from dicom_node.peers import (
    Alarms,
    AuditSyslog,
    Channel,
    Completeness,
    DicomDestination,
    DicomSource,
    Hl7Paths,
    HttpTls,
    MllpDestination,
    Oidc,
    Peer,
    Retention,
    SrClass,
    Tls,
)
from dicom_node.product import DISCLAIMER
from dicom_node.setting_sources import PREFIX, TomlFile, config_file, require_known, secrets_folder
from dicom_node.setting_values import AeTitle, BearerToken, HomePath, IpAddress, Network, Port, SecureUrl
from dicom_node.states import DeliveryKind

_DRIVERS = ("postgresql+psycopg", "sqlite")


class Settings(BaseSettings):
    """Everything an administrator can set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
    )

    # Where things lie
    data_dir: HomePath = Field(
        default=Path("var"), description="Folder of received images and of the embedded database."
    )
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL URL (postgresql+psycopg://…). None: SQLite in data_dir."
    )
    database_password: SecretStr | None = Field(
        default=None, description="Password of `database_url`, as it is: in the URL it would need escaping."
    )
    broker_url: SecretStr | None = Field(
        default=None, description="Redis URL of the Celery broker. None: workers look at the job table."
    )
    model_dir: HomePath | None = Field(
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
    max_associations_per_s: int = Field(
        default=500, ge=1, description="New connections of one address in a second; more are hung up on."
    )
    receive_path: Literal["fast", "plain"] = Field(
        default="fast",
        description="fast: objects go from the socket straight to their file (Linux). plain: pynetdicom's own way.",
    )
    receive_processes: int = Field(
        default=1,
        ge=1,
        le=32,
        description="Processes that share the DICOM port: one for every two to four cores, with PostgreSQL.",
    )
    max_pdu_bytes: int = Field(default=131_072, ge=4_096, le=1_048_576, description="Largest PDU received (PS3.8 D.1).")
    network_timeout_s: float = Field(default=60.0, gt=0, description="Longest silence of a peer within an association.")
    idle_timeout_s: float = Field(default=30.0, gt=0, description="A study is complete when quiet for so long.")
    completeness: Completeness = Field(
        default=Completeness(), description="Signs that a study is complete before that."
    )
    min_free_bytes: int = Field(
        default=1_000_000_000,
        ge=0,
        description="Free disk kept back: C-STORE answers A700 before it is touched, associations are refused after.",
    )
    retention: Retention = Field(default=Retention(), description="When received images are removed again.")
    sources: tuple[DicomSource, ...] = Field(default=(), description="PACS that studies are pulled from.")

    # The web
    http_host: str = Field(default="127.0.0.1", description="Address the HTTP port binds to.")
    http_port: Port = Field(default=8080, description="HTTP port of the page, STOW-RS and health. 0: any free port.")
    http_tls: HttpTls | None = Field(default=None, description="Speak HTTPS with these certificates.")
    http_published_at: IpAddress | None = Field(
        default=None,
        description="In a container: the host's address at which the HTTP port is published. On a loopback address "
        "(127.0.0.1), a browser on that host may see the page over plain HTTP.",
    )
    stow_clients: dict[AeTitle, BearerToken] = Field(
        default_factory=dict,
        description="Who may store by STOW-RS: name → bearer token of 16 characters or more. "
        "Empty: anybody, but from this machine only.",
    )
    metrics_token: BearerToken | None = Field(
        default=None,
        description="Bearer token of who may ask for /metrics, 16 characters or more. None: this machine only.",
    )
    page_plain_http: tuple[Network, ...] = Field(
        default=(),
        description="Addresses that may see the page over plain HTTP (CIDR), as a proxy that speaks HTTPS to browsers. "
        "Empty: this machine only.",
    )
    http_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Proxies before the HTTP port (CIDR) that are believed in X-Forwarded-For: the limit of tries and "
        "the audit trail go by the address that they tell. Empty: none.",
    )
    page_idle_s: float = Field(
        default=1_800.0, ge=60, description="Who does nothing on the page for so long has to log in again."
    )
    page_url: SecureUrl | None = Field(default=None, description="Address of the page for browsers. None: not known.")
    oidc: Oidc | None = Field(
        default=None, description="An OpenID provider whose people may use the page, too. Needs page_url."
    )

    # HL7 in
    hl7_host: str = Field(default="127.0.0.1", description="Address the HL7 port binds to.")
    hl7_port: Port | None = Field(
        default=None,
        description="MLLP port for orders, patient updates and final reports. 0: any free port. None: none are taken.",
    )
    hl7_tls: Tls | None = Field(default=None, description="Take MLLP over TLS with these certificates.")
    hl7_senders: tuple[Network, ...] = Field(
        default=(), description="Addresses HL7 messages may come from (CIDR). Empty: this machine only."
    )
    hl7_character_set: str = Field(
        default="UNICODE UTF-8", description="Character set (HL7 table 0211) of messages that name none in MSH-18."
    )
    hl7_paths: Hl7Paths = Field(default=Hl7Paths(), description="Where messages say what.")

    # Reading
    inference_timeout_s: float = Field(
        default=120.0, gt=0, description="Longest time for one draft; then the model restarts."
    )
    inference_threads: int = Field(default=2, ge=1, description="Studies a worker handles at once.")
    max_job_attempts: int = Field(default=3, ge=1, description="Tries at drafting one study.")
    max_new_tokens: int = Field(default=256, ge=1, le=1024, description="Longest draft, tokens.")
    rules_file: HomePath | None = Field(
        default=None,
        description="YAML file that says which studies are read, how urgently and for whom. None: all, and for all.",
    )

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

    # Watching
    notify: tuple[Channel, ...] = Field(default=(), description="Who is told when the node needs a person.")
    alarms: Alarms = Field(default=Alarms(), description="When that is.")
    audit_syslog: AuditSyslog | None = Field(default=None, description="Where the audit trail goes, beside its files.")
    traces_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^?#]+$",
        description="Where traces of studies go: the address of an OpenTelemetry collector (OTLP over HTTP, its path "
        "/v1/traces). Needs the extra `otel`.",
    )

    # All roles
    poll_interval_s: float = Field(
        default=1.0, gt=0, description="How often sweep, worker and relay look for due rows."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO",
        description="Least level that is logged. DEBUG adds libraries' own words, which may name patients.",
    )

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and _driver_of(url) not in _DRIVERS:
            raise ValueError(f"expected a URL that begins with {'://… or '.join(_DRIVERS)}://…")
        return url

    @field_validator("traces_endpoint")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        if url is not None and "@" in url:
            raise ValueError("expected an address without user and password: the page shows it")
        return url

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:  # unknown; not a name at all; the name of a folder
            raise ValueError("expected an IANA name such as Europe/Berlin") from error
        return name

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Settings":
        names = self.destination_names
        if len(set(names)) != len(names):
            raise ValueError(f"destination names must differ, got {', '.join(names)}")
        if len({each.name for each in self.notify}) != len(self.notify):
            raise ValueError(f"names of notify must differ, got {', '.join(each.name for each in self.notify)}")
        if len({each.name for each in self.sources}) != len(self.sources):
            raise ValueError(f"source names must differ, got {', '.join(each.name for each in self.sources)}")
        return self

    @model_validator(mode="after")
    def _room_is_made_in_time(self) -> "Settings":
        if 0 < self.retention.free_bytes <= self.min_free_bytes:
            raise ValueError(f"retention.free_bytes must be above min_free_bytes ({self.min_free_bytes})")
        return self

    @model_validator(mode="after")
    def _fingerprints_can_be_shown(self) -> "Settings":
        named = [ae_title for ae_title, peer in self.peers.items() if peer.certificate_sha256]
        if named and self.tls is None:
            raise ValueError(f"certificate_sha256 of {', '.join(named)} needs tls, or no certificate is shown")
        return self

    @model_validator(mode="after")
    def _people_find_back(self) -> "Settings":
        if self.oidc is not None and self.page_url is None:
            raise ValueError("oidc needs page_url: the provider sends people back there")
        return self

    @property
    def destination_names(self) -> tuple[str, ...]:
        return (*(each.name for each in self.pacs), *(each.name for each in self.ris))

    @property
    def sr_class(self) -> SrClass:
        """Of the SR that others name: the first PACS's that takes one."""
        return next((each.sr_class for each in self.pacs if "sr" in each.objects), "basic")

    @property
    def deliveries(self) -> tuple[tuple[str, DeliveryKind], ...]:
        """What is sent of each draft: the destination's name and the kind."""
        objects = ((each.name, DeliveryKind(kind)) for each in self.pacs for kind in each.objects)
        return (*objects, *((each.name, DeliveryKind.ORU) for each in self.ris))

    @property
    def longest_drafting_s(self) -> float:
        """From a job's claim to its draft: its thread waits in line for the model, which may have to be stopped."""
        return self.inference_timeout_s * (self.inference_threads + 1)

    @property
    def committing(self) -> frozenset[str]:
        """The destinations that are asked to commit what they were sent."""
        return frozenset(each.name for each in self.pacs if each.commitment)

    @property
    def listening_tls(self) -> dict[str, Tls]:
        """Certificates of the ports that ask for one, by the setting."""
        named = {"tls": self.tls, "hl7_tls": self.hl7_tls}
        return {setting: tls for setting, tls in named.items() if tls is not None}

    @property
    def calling_tls(self) -> dict[str, Tls]:
        """Certificates shown to peers that are called, by the peer's name."""
        named = {pacs.name: pacs.tls for pacs in self.pacs}
        named |= {ris.name: ris.tls for ris in self.ris}
        named |= {f"source {source.name}": source.tls for source in self.sources}
        named |= {f"peer {name}": peer.listens_at.tls for name, peer in self.peers.items() if peer.listens_at}
        named |= {"audit_syslog": self.audit_syslog.tls if self.audit_syslog else None}
        return {name: tls for name, tls in named.items() if tls is not None}

    @property
    def all_tls(self) -> dict[str, HttpTls]:
        """All of these and that of the HTTP port."""
        own = {"http_tls": self.http_tls} if self.http_tls else {}
        return {**self.listening_tls, **own, **self.calling_tls}

    @property
    def sqlalchemy_url(self) -> str:
        if self.database_url is None:
            return f"sqlite:///{self.data_dir.absolute() / 'node.sqlite'}"
        url = self.database_url.get_secret_value()
        if self.database_password is None:
            return url
        password = self.database_password.get_secret_value()
        return make_url(url).set(password=password).render_as_string(hide_password=False)

    @property
    def instances_dir(self) -> Path:
        return self.data_dir / "instances"

    @property
    def audit_dir(self) -> Path:
        return self.data_dir / "audit"

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
        require_known(settings_cls.model_fields)
        secrets = SecretsSettingsSource(settings_cls, secrets_folder())
        return init_settings, env_settings, secrets, TomlFile(settings_cls, config_file())


def _driver_of(url: SecretStr) -> str:
    """Empty for what is no URL: SQLAlchemy's own words would quote a part of the password."""
    try:
        return make_url(url.get_secret_value()).drivername
    except (ArgumentError, ValueError):
        return ""
