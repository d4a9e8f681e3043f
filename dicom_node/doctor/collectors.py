"""Checks of what the node leans on beside its peers: the identity provider, the collector of audit messages."""

from collections.abc import Iterator

from dicom_node.audit_syslog import connected
from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok
from dicom_node.doctor.network import reach_fault
from dicom_node.errors import NodeError
from dicom_node.peers import AuditSyslog
from dicom_node.tls import words_of

_LONGEST_S = 5.0


def check_provider(settings: Settings) -> Iterator[Diagnosis]:
    """Does it answer, under the name that it has in the settings?"""
    if settings.oidc is None:
        return
    from dicom_node.identity.provider import Provider  # and cryptography: not for those who have none

    what, provider = "identity provider", Provider(settings.oidc, settings.page_url or "")
    try:
        settings.oidc.client_secret_file.read_bytes()
        provider.discover()
    except OSError as error:
        words = f"oidc.client_secret_file cannot be read: {error.strerror}"
        yield fault(what, words, "give a file that this user can read")
    except NodeError as error:
        fix = "set oidc.issuer, oidc.ca right, or let this machine through; local users come in meanwhile"
        yield fault(what, str(error), fix)
    else:
        yield ok(what, f"it answers; it has to know {provider.redirect_uri} as redirect URI")


def check_collector(settings: Settings) -> Iterator[Diagnosis]:
    """Does it listen, and speak TLS with our certificates?"""
    if settings.audit_syslog is not None:
        yield _collector("collector of audit messages", settings.audit_syslog)


def _collector(what: str, collector: AuditSyslog) -> Diagnosis:
    away = reach_fault(what, collector.host, collector.port)
    if away is not None:
        return away
    try:
        with connected(collector, _LONGEST_S) as secured:
            secured.unwrap()
    except OSError as error:
        words = f"{collector.host}:{collector.port} and this node do not agree on TLS: {words_of(error)}"
        return fault(what, words, "give audit_syslog.tls a certificate that it knows, and the authority of its own")
    return ok(what, f"{collector.host}:{collector.port} speaks TLS")
