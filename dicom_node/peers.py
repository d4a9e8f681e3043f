"""The tables of settings that `config.Settings` is made of, most of them other systems."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from dicom_node.setting_values import (
    AeTitle,
    Hl7CharacterSet,
    Hl7Path,
    HomePath,
    HostName,
    Modality,
    Name,
    Network,
    Port,
    SecureUrl,
    Sha256Fingerprint,
)

# What a PACS can be sent of a draft; values of `DeliveryKind`.
DicomObject = Literal["sr", "findings", "pdf", "page", "gsps"]
# The SOP class of the Structured Report: PS3.3 A.35.1, A.35.2, A.35.3.
SrClass = Literal["basic", "enhanced", "comprehensive"]

_MATCHED_VRS = frozenset({"AE", "AS", "CS", "DA", "LO", "PN", "SH", "TM", "UI"})  # PS3.5 6.2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class HttpTls(_Frozen):
    """Certificates of the HTTP port (PEM files)."""

    certificate: HomePath = Field(description="PEM file with this end's certificate chain.")
    key: HomePath = Field(description="PEM file with its private key.")
    ca: HomePath | None = Field(
        default=None,
        description="PEM file with the authorities of those who store by STOW-RS, and their CRLs if any: who stores "
        "has to show a certificate then. None: nobody shows one.",
    )


class Tls(HttpTls):
    """Certificates of one end of a TLS connection (PEM files). Both ends show a certificate (PS3.15 B.9, B.10)."""

    ca: HomePath = Field(
        description="PEM file with the authorities that may sign the other end's certificate, and their CRLs if any."
    )


class PeerAddress(_Frozen):
    """Where a peer listens for associations that this node opens."""

    host: HostName = Field(description="Its host name or address.")
    port: Port = Field(default=104, description="Its DICOM port.")
    tls: Tls | None = Field(default=None, description="Speak DICOM TLS with these certificates.")


class Peer(_Frozen):
    """One calling AE title that may send to this node, and what the site vouches for on its behalf."""

    addresses: tuple[Network, ...] = Field(
        default=(), description="Addresses it may come from (CIDR). Empty: any address."
    )
    certificate_sha256: tuple[Sha256Fingerprint, ...] = Field(
        default=(),
        description="SHA-256 fingerprints of the TLS certificates it may show. Empty: any that `tls.ca` vouches for.",
    )
    listens_at: PeerAddress | None = Field(
        default=None,
        description="Where it takes results of storage commitment. None: on the association of its request only.",
    )
    assume_chest: bool = Field(
        default=False, description="Images from it whose header names no body part are chest images."
    )
    assume_frontal: bool = Field(
        default=False, description="Images from it whose header names no view are frontal (PA or AP)."
    )


class Completeness(_Frozen):
    """Signs that a study is complete before it was quiet for `idle_timeout_s`."""

    on_release: bool = Field(
        default=False,
        description="Complete when its sender has released every association to the same process that it came on.",
    )
    image_count: int | None = Field(
        default=None, ge=1, description="Complete when so many radiographs came. None: however many."
    )
    on_mpps: bool = Field(
        default=True,
        description="Take MPPS: complete when the modality says COMPLETED and the radiographs it lists are here.",
    )
    on_availability: bool = Field(
        default=False,
        description="Take Instance Availability Notifications: complete when the radiographs that they list are here.",
    )
    settle_s: float = Field(
        default=2.0, ge=0, description="A study is closed by none of these before it was quiet for so long."
    )


class Retention(_Frozen):
    """How long images are kept. Rows, drafts and what was sent stay for ever."""

    days: int | None = Field(
        default=None,
        ge=1,
        description="Images of a study that ended well are removed after so many days of quiet. None: they stay.",
    )
    free_bytes: int = Field(
        default=0,
        ge=0,
        description="With less free disk, those of the oldest studies are removed before their days. 0: never.",
    )


class Channel(_Frozen):
    """Somebody who is told when the node needs a person, or is well again."""

    name: Name = Field(description="Its name in the database and in logs.")
    url: SecretStr = Field(
        description="Its address as Apprise writes it: mailtos://…, msteams://…, ntfys://… It holds secrets."
    )
    on: tuple[Literal["failure", "silence", "backlog", "disk", "role"], ...] = Field(
        default=("failure", "silence", "backlog", "disk", "role"),
        min_length=1,
        description="What it is told of; `role`: a part of the node that does not run, is not well, or whose "
        "certificate ends.",
    )


class Alarms(_Frozen):
    """When those of `[[notify]]` are told."""

    silence_h: float = Field(default=4.0, gt=0, description="No image came for so many working hours.")
    working_hours: tuple[Annotated[int, Field(ge=0, le=24)], Annotated[int, Field(ge=0, le=24)]] = Field(
        default=(7, 19), description="From when to when somebody sends images, hours of the day in `time_zone`."
    )
    working_days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        default=("mon", "tue", "wed", "thu", "fri"), min_length=1, description="Days of the week with working hours."
    )
    backlog_s: float = Field(
        default=900.0,
        gt=0,
        description="So long waits a study for a worker, a draft for a destination or an audit message for its "
        "collector.",
    )
    free_bytes: int = Field(default=5_000_000_000, ge=0, description="Less of the disk is free.")


class PullRule(_Frozen):
    """Which studies of a source are pulled without being asked for, one by one."""

    modalities: tuple[Modality, ...] = Field(
        default=("CR", "DX"), min_length=1, description="Modalities of which the study has at least one."
    )
    days: int = Field(default=1, ge=0, le=365, description="Its Study Date is not older than so many days; 0: today.")
    match: dict[str, str] = Field(
        default_factory=dict,
        description="What else it must match: DICOM keyword → value, in which `*` and `?` are wildcards.",
    )

    @field_validator("match")
    @classmethod
    def _are_keywords(cls, match: dict[str, str]) -> dict[str, str]:
        from pydicom.datadict import dictionary_VR, tag_for_keyword  # takes a second, and few have rules

        for keyword, value in match.items():
            if dictionary_VR(tag_for_keyword(keyword) or 0) not in _MATCHED_VRS:
                raise ValueError(f"expected the keyword of a text such as StationName, got {keyword}")
            if not value or "\\" in value:
                raise ValueError(f"expected one value for {keyword}")
        return match


class DicomPeer(_Frozen):
    """A PACS that this node opens associations with."""

    name: Name = Field(description="Its name in the database and in logs.")
    ae_title: AeTitle = Field(description="Its AE title.")
    host: HostName = Field(description="Its host name or address.")
    port: Port = Field(default=104, description="Its DICOM port.")
    timeout_s: float = Field(gt=0, description="Longest wait for a connection or for its next answer.")
    tls: Tls | None = Field(default=None, description="Speak DICOM TLS with these certificates.")


class DicomSource(DicomPeer):
    """A PACS that studies are pulled from, because it does not send them by itself."""

    name: Name = Field(description="Its name in the database, in logs and on the command line.")
    timeout_s: float = Field(default=60.0, gt=0, description="Longest wait for a connection or for its next answer.")
    retrieve: Literal["move", "get"] = Field(
        default="move",
        description="move: it sends to this node's own port, and is one of `peers`. get: on the node's association.",
    )
    rules: tuple[PullRule, ...] = Field(default=(), description="What is pulled without being asked for.")
    poll_s: float = Field(default=60.0, ge=1, description="How often it is asked for what the rules name.")
    fetch_priors: bool = Field(
        default=False,
        description="Pull the newest earlier chest radiograph of each patient drafted, to compare; it gets no draft.",
    )


class DicomDestination(DicomPeer):
    """A PACS that takes drafts by C-STORE."""

    name: Name = Field(description="Its name in the database, in logs and in the timeline.")
    timeout_s: float = Field(default=30.0, gt=0, description="Longest wait for a connection or an answer.")
    objects: tuple[DicomObject, ...] = Field(
        default=("sr",),
        min_length=1,
        description="What it is sent of each draft: `sr` the report, `findings` codes; `pdf`, `page`, `gsps` for eyes.",
    )
    sr_class: SrClass = Field(
        default="basic", description="SOP class of its `sr`: basic, enhanced or comprehensive (text) SR, the same tree."
    )
    commitment: bool = Field(
        default=False,
        description="Ask it for storage commitment; it answers at once, or as one of `peers` at this node's port.",
    )
    commitment_timeout_s: float = Field(
        default=3_600.0, gt=0, description="What it has not committed for so long is sent again."
    )
    rejection_notes: bool = Field(
        default=False, description="`dicom-node withdraw` sends it a rejection note (Key Object Selection)."
    )
    ask_before_sending: bool = Field(
        default=False,
        description="Ask it by C-FIND before each object: nothing is sent to another patient or accession number.",
    )


class MllpDestination(_Frozen):
    """A RIS that takes the ORU^R01 over MLLP."""

    name: Name = Field(description="Its name in the database, in logs and in the timeline.")
    host: HostName = Field(description="Its host name or address.")
    port: Port = Field(default=2575, description="Its MLLP port.")
    timeout_s: float = Field(default=30.0, gt=0, description="Longest wait for a connection or an acknowledgement.")
    receiving_application: str = Field(default="RIS", max_length=180, description="MSH-5.")
    receiving_facility: str = Field(default="HOSPITAL", max_length=180, description="MSH-6.")
    result_status: Literal["P", "R"] = Field(
        default="P", description="OBR-25 and OBX-11: P preliminary, R stored and not verified (HL7 tables 0123, 0085)."
    )
    version: Literal["2.3.1", "2.4", "2.5.1"] = Field(
        default="2.5.1", description="MSH-12. Before 2.5.1 the priority is in ORC-7 and OBR-27 and not in TQ1."
    )
    text_type: Literal["TX", "FT", "ED"] = Field(
        default="TX",
        description="OBX-2 of the draft: TX a row for each line, FT one row with line breaks, ED one row of Base64.",
    )
    character_set: Hl7CharacterSet = Field(
        default="UNICODE UTF-8",
        description="MSH-18 (HL7 table 0211), empty for ASCII. A draft that it cannot hold is refused, never altered.",
    )
    acknowledgement: Literal["original", "accept", "application"] = Field(
        default="original",
        description="original mode; or enhanced mode: accept asks for CA alone, application for AA after it.",
    )
    cancellations: bool = Field(
        default=False, description="A draft that is withdrawn is cancelled by another ORU^R01; else nothing is sent."
    )
    tls: Tls | None = Field(default=None, description="Speak MLLP over TLS with these certificates.")


class Hl7Paths(_Frozen):
    """Where a site's orders and final reports say what not all sites say in one place: the first that is there."""

    accession_number: tuple[Hl7Path, ...] = Field(
        default=("IPC-1", "OBR-18", "ORC-3", "OBR-3"), description="The accession number, as images have it."
    )
    study_instance_uid: tuple[Hl7Path, ...] = Field(default=("IPC-3", "ZDS-1"), description="The Study Instance UID.")
    reason_for_study: tuple[Hl7Path, ...] = Field(
        default=("OBR-31", "OBR-13"), description="The reason for the exam, which the model is told."
    )


class Oidc(_Frozen):
    """An OpenID provider whose people may use the page (OpenID Connect Core 1.0, authorization code flow)."""

    issuer: SecureUrl = Field(description="Its issuer, letter by letter as its discovery document says.")
    client_id: str = Field(min_length=1, description="What it calls this node.")
    client_secret_file: HomePath = Field(description="File with the secret that it gave this node.")
    roles: dict[str, Literal["viewer", "operator", "admin"]] = Field(
        min_length=1,
        description="What a value of role_claim lets a person do: viewer, operator or admin. The most of them counts; "
        "who has none is kept out.",
    )
    role_claim: str = Field(default="roles", description="Claim of the ID token that holds a person's roles or groups.")
    name_claim: str = Field(
        default="preferred_username", description="Claim of the ID token that holds the name a person goes by here."
    )
    scopes: tuple[str, ...] = Field(
        default=("openid", "profile"), description="What it is asked for; some want one more to tell the groups."
    )
    ca: HomePath | None = Field(
        default=None, description="PEM file with the authorities of its certificate. None: those of this machine."
    )


class AuditSyslog(_Frozen):
    """A collector of audit messages by syslog over TLS (PS3.15 A.6, RFC 5425)."""

    host: HostName = Field(description="Its host name or address.")
    port: Port = Field(default=6514, description="Its port for syslog over TLS.")
    tls: Tls = Field(description="Speak TLS with these certificates.")
