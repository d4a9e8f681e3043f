"""The settings that a peer should know, with what they mean. No secret, no folder, no address of the database."""

from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from dicom_node.config import Settings
from dicom_node.peers import Completeness, DicomDestination, DicomSource, Hl7Paths, MllpDestination, Peer
from integration.conformance.markdown import table, words_of

RECEIVING = (
    "ae_title", "host", "port", "tls", "max_associations", "max_associations_per_peer", "max_associations_per_s",
    "max_pdu_bytes", "network_timeout_s", "idle_timeout_s", "min_free_bytes",
)  # fmt: skip
WEB = ("http_host", "http_port", "http_tls", "stow_clients")
HL7 = ("hl7_host", "hl7_port", "hl7_tls", "hl7_senders", "hl7_character_set")
TELLING = (
    "max_delivery_attempts", "retry_after_s", "max_retry_after_s", "disclaimer", "sending_application",
    "sending_facility", "processing_id", "time_zone", "max_new_tokens",
)  # fmt: skip


def configured_facts(settings: Settings) -> Mapping[str, str]:
    return {
        "receiving_settings": _one(settings, RECEIVING),
        "completeness_settings": _one(settings.completeness, Completeness.model_fields),
        "web_settings": _one(settings, WEB),
        "hl7_settings": _one(settings, HL7),
        "hl7_paths_settings": _one(settings.hl7_paths, Hl7Paths.model_fields),
        "telling_settings": _one(settings, TELLING),
        "peers_settings": _several("peers", Peer, settings.peers),
        "sources_settings": _several("sources", DicomSource, {each.name: each for each in settings.sources}),
        "pacs_settings": _several("pacs", DicomDestination, {each.name: each for each in settings.pacs}),
        "ris_settings": _several("ris", MllpDestination, {each.name: each for each in settings.ris}),
    }


def _one(group: BaseModel, names: Iterable[str]) -> str:
    fields = type(group).model_fields
    rows = ((f"`{name}`", words_of(getattr(group, name)), fields[name].description or "") for name in names)
    return table(("setting", "value", "meaning"), rows)


def _several(setting: str, model: type[BaseModel], named: Mapping[str, BaseModel]) -> str:
    """Side by side, a column for each."""
    if not named:
        return f"`{setting}`: empty. {Settings.model_fields[setting].description}"
    rows = (
        (f"`{name}`", *(words_of(getattr(each, name)) for each in named.values()), field.description or "")
        for name, field in model.model_fields.items()
        if name != "name"
    )
    return table(("setting", *named, "meaning"), rows)
