"""`dicom-node doctor`'s checks of each RIS: a test message, and does anything come back?"""

from collections.abc import Iterator
from hashlib import sha256

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok, warning
from dicom_node.doctor.network import reach_fault
from dicom_node.peers import MllpDestination
from integration.destinations import NOT_SENT
from integration.escape import escape
from integration.mllp import MllpSender


def check_ris(settings: Settings) -> Iterator[Diagnosis]:
    """Send each RIS a message that is about nobody. It may refuse it: what counts is that it answers ours."""
    if not settings.ris:
        yield warning("RIS", "none is set: drafts go to no RIS", "add a table [[ris]]")
    for each in settings.ris:
        yield reach_fault(f"RIS {each.name}", each.host, each.port) or _ask(settings, each)


def _ask(settings: Settings, to: MllpDestination) -> Diagnosis:
    what, where = f"RIS {to.name}", f"{to.host}:{to.port}"
    try:
        ack = MllpSender(to).send(_clock_message(settings, to))
    except OSError:  # its TLS files: the certificate's line says what is wrong
        return fault(what, "was not asked: its certificates make no TLS", "see the certificate's line")
    if ack.code in ("", NOT_SENT):
        return fault(what, ack.reason, f"is it MLLP that is spoken at {where}, with TLS or without? See its log")
    return ok(what, f"{where} answers a test message ({ack.code})")


def _clock_message(settings: Settings, to: MllpDestination) -> bytes:
    """NMD^N02 (HL7 2.5.1 14.3.2): our clock. Whoever does not take it says so (AE, AR)."""
    now = f"{utc_now():%Y%m%d%H%M%S}+0000"
    names = "|".join(
        escape(each)
        for each in (
            settings.sending_application,
            settings.sending_facility,
            to.receiving_application,
            to.receiving_facility,
        )
    )
    control_id = sha256(f"doctor {utc_now().isoformat()} {to.name}".encode()).hexdigest()[:20].upper()
    header = f"MSH|^~\\&|{names}|{now}||NMD^N02^NMD_N02|{control_id}|{settings.processing_id}|{to.version}"
    return f"{header}\rNCK|{now}\r".encode("ascii", "replace")
