"""Checks of the other ends that speak DICOM: who may send, where drafts go, where studies are pulled from."""

from collections.abc import Iterator, Mapping

from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when the module is imported
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok, warning
from dicom_node.doctor.network import reach_fault
from dicom_node.errors import NodeError, PeerRejected
from dicom_node.peers import DicomDestination, DicomPeer
from dicom_node.requestor import Requestor, opened

_SR_CLASSES = {"basic": BasicTextSRStorage, "enhanced": EnhancedSRStorage, "comprehensive": ComprehensiveSRStorage}
_OBJECT_CLASSES = {
    "findings": Comprehensive3DSRStorage,
    "pdf": EncapsulatedPDFStorage,
    "page": SecondaryCaptureImageStorage,
    "gsps": GrayscaleSoftcopyPresentationStateStorage,
}

_CONFIGURE = "have it configured for that and this node's AE title, or change the setting in brackets"

Wanted = Mapping[UID, str]  # SOP class → the settings that ask for it


def check_senders(settings: Settings) -> Iterator[Diagnosis]:
    """May anybody send?"""
    what = "senders"
    if settings.peers:
        yield ok(what, f"{len(settings.peers)} calling AE titles may send: {', '.join(settings.peers)}")
    else:
        yield warning(what, "no peers are set: only this machine may send", "add a table [peers.AETITLE] for each")


def check_pacs(settings: Settings) -> Iterator[Diagnosis]:
    """C-ECHO, and does it take the objects that it will be sent, and what else it will be asked?"""
    if not settings.pacs:
        yield warning("PACS", "none is set: drafts go to no PACS", "add a table [[pacs]]")
    for each in settings.pacs:
        yield _ask(f"PACS {each.name}", settings, each, _wanted_of(each))


def check_sources(settings: Settings) -> Iterator[Diagnosis]:
    """C-ECHO, and may it be searched?"""
    for each in settings.sources:
        wanted = {StudyRootQueryRetrieveInformationModelFind: "to be searched"}
        yield _ask(f"source {each.name}", settings, each, wanted)


def _wanted_of(to: DicomDestination) -> Wanted:
    classes = {**_OBJECT_CLASSES, "sr": _SR_CLASSES[to.sr_class]}
    services = {
        StudyRootQueryRetrieveInformationModelFind: "ask_before_sending",
        StorageCommitmentPushModel: "commitment",
        KeyObjectSelectionDocumentStorage: "rejection_notes",
    }
    objects = {classes[each]: f"objects: {each}" for each in to.objects}
    return objects | {uid: setting for uid, setting in services.items() if getattr(to, setting)}


def _ask(what: str, settings: Settings, to: DicomPeer, wanted: Wanted) -> Diagnosis:
    absent = reach_fault(what, to.host, to.port)
    if absent is not None:
        return absent
    contexts = [build_context(each) for each in (Verification, *wanted)]
    ae = Requestor(settings.ae_title, timeout_s=to.timeout_s)
    try:
        with opened(ae, to, to.ae_title, contexts=contexts, refusal=_refusal(wanted)) as assoc:
            return _answer(what, to, assoc, wanted)
    except PeerRejected as error:
        return fault(what, str(error), _CONFIGURE)
    except NodeError as error:
        return fault(what, str(error), _fix(str(error), settings.ae_title, to))


def _refusal(missing: Wanted) -> str:
    return f"does not take {', '.join(f'{uid.name} ({setting})' for uid, setting in missing.items())}"


def _fix(words: str, our_ae: str, to: DicomPeer) -> str:
    table = f"[[{'pacs' if isinstance(to, DicomDestination) else 'sources'}]] {to.name}"
    if "called ae title not recognised" in words:
        return f"set ae_title of {table}: it does not go by {to.ae_title}"
    if "TLS" in words:
        return f"see that it speaks TLS at this port, and each end trusts the other's certificate (tls of {table})"
    plain = "" if to.tls or "rejected" in words else f"; if it speaks TLS, set tls of {table}"
    return f"have it know us: calling AE title {our_ae}, this machine's address; and see its log{plain}"


def _answer(what: str, to: DicomPeer, assoc: Association, wanted: Wanted) -> Diagnosis:
    accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
    missing = {uid: setting for uid, setting in wanted.items() if uid not in accepted}
    if missing:
        return fault(what, f"{to.ae_title} {_refusal(missing)}", _CONFIGURE)
    if Verification not in accepted:
        return ok(what, f"{to.ae_title} takes what it will be asked (it has no C-ECHO)")
    status = assoc.send_c_echo().get("Status")
    if status != 0:
        words = f"{to.ae_title} does not answer C-ECHO" if status is None else f"C-ECHO: status {status:04X}"
        return fault(what, words, "look into its log for this moment")
    return ok(what, f"{to.ae_title} at {to.host}:{to.port} answers C-ECHO and takes what it will be asked")
