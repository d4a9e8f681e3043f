"""Checks of the other ends that speak DICOM: who may send, where drafts go, where studies are pulled from."""

from collections.abc import Iterator

from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when the module is imported
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok, warning
from dicom_node.doctor.network import reach_fault
from dicom_node.errors import NodeError
from dicom_node.peers import DicomDestination, DicomSource
from dicom_node.requestor import Requestor, opened

_SR_CLASSES = {"basic": BasicTextSRStorage, "enhanced": EnhancedSRStorage, "comprehensive": ComprehensiveSRStorage}


def check_senders(settings: Settings) -> Iterator[Diagnosis]:
    """May anybody send?"""
    what = "senders"
    if settings.peers:
        yield ok(what, f"{len(settings.peers)} calling AE titles may send: {', '.join(settings.peers)}")
    else:
        yield warning(what, "no peers are set: only this machine may send", "add a table [peers.AETITLE] for each")


def check_pacs(settings: Settings) -> Iterator[Diagnosis]:
    """C-ECHO, and does it take the objects that it will be sent?"""
    if not settings.pacs:
        yield warning("PACS", "none is set: drafts go to no PACS", "add a table [[pacs]]")
    for each in settings.pacs:
        wanted = _SR_CLASSES[each.sr_class] if "sr" in each.objects else Verification
        yield _ask(f"PACS {each.name}", settings, each, wanted, "does not take the SR class that it is to be sent")


def check_sources(settings: Settings) -> Iterator[Diagnosis]:
    """C-ECHO, and may it be searched?"""
    wanted = StudyRootQueryRetrieveInformationModelFind
    for each in settings.sources:
        yield _ask(f"source {each.name}", settings, each, wanted, "does not let itself be searched (Study Root C-FIND)")


def _ask(what: str, settings: Settings, to: DicomDestination | DicomSource, wanted: str, refusal: str) -> Diagnosis:
    absent = reach_fault(what, to.host, to.port)
    if absent is not None:
        return absent
    contexts = [build_context(each) for each in dict.fromkeys((Verification, wanted))]
    ae = Requestor(settings.ae_title, timeout_s=to.timeout_s)
    try:
        with opened(ae, to, to.ae_title, contexts=contexts, refusal=refusal) as assoc:
            return _answer(what, to, assoc, wanted, refusal)
    except NodeError as error:
        fix = f"have it know us: calling AE title {settings.ae_title}, this machine's address; and see its log"
        return fault(what, str(error), fix)


def _answer(what: str, to: DicomDestination | DicomSource, assoc: Association, wanted: str, refusal: str) -> Diagnosis:
    accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
    if wanted not in accepted:
        return fault(what, f"{to.ae_title} {refusal}", "have it configured for that SOP class and this AE title")
    if Verification not in accepted:
        return ok(what, f"{to.ae_title} takes what it will be asked (it has no C-ECHO)")
    status = assoc.send_c_echo().get("Status")
    if status != 0:
        words = f"{to.ae_title} does not answer C-ECHO" if status is None else f"C-ECHO: status {status:04X}"
        return fault(what, words, "look into its log for this moment")
    return ok(what, f"{to.ae_title} at {to.host}:{to.port} answers C-ECHO and takes what it will be asked")
