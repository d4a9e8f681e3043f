"""What the relay tells beside drafts: the audit trail to its collector, traces to theirs."""

from collections.abc import Callable

from dicom_node.audit_shipping import AuditShipping
from dicom_node.tracing.shipping import trace_shipping
from integration.teller import Teller


def collector_works(teller: Teller) -> dict[str, Callable[[], bool]]:
    """A thread for each collector that the settings name: one that hangs keeps nobody waiting.

    Raises Permanent if one cannot be told as the settings are.
    """
    settings, works = teller.settings, dict[str, Callable[[], bool]]()
    if settings.audit_syslog is not None:
        works["audit"] = AuditShipping(settings, settings.audit_syslog, teller.sessions, teller.clock).ship
    if settings.traces_endpoint is not None:
        works["traces"] = trace_shipping(settings, settings.traces_endpoint, teller.sessions, teller.clock).ship
    return works
