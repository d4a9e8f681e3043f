"""Associations with a source: queries and retrieval, on C-GET also storage with the roles turned round (PS3.4 C.5)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.uid import (
    JPEG2000,
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    KeyObjectSelectionDocumentStorage,
    RLELossless,
    XRayRadiationDoseSRStorage,
)
from pynetdicom import StoragePresentationContexts, _config, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicom_node.audit import AuditTrail
from dicom_node.audit_messages import Sender, Transfer
from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.peers import DicomPeer, DicomSource
from dicom_node.receive.catalog import RADIOGRAPH_SOP_CLASSES
from dicom_node.receive.intake import Intake
from dicom_node.receive.transfers import Transfers
from dicom_node.receive.whole_object import keep_whole
from dicom_node.requestor import Requestor, opened

# PS3.4 C.6.2: Study Root Query/Retrieve Information Model
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
COMPRESSED = (
    JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless,
    JPEG2000Lossless, JPEG2000, RLELossless,
)  # fmt: skip
# What comes with radiographs
_COMPANIONS = (
    GrayscaleSoftcopyPresentationStateStorage, KeyObjectSelectionDocumentStorage, XRayRadiationDoseSRStorage,
    BasicTextSRStorage, EnhancedSRStorage, ComprehensiveSRStorage, EncapsulatedPDFStorage,
)  # fmt: skip
_MAX_PDU_BYTES = 131_072
_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: their ids are the odd numbers of a byte


@contextmanager
def associated(source: DicomSource, intake: Intake, *, trail: AuditTrail, calling_ae: str) -> Iterator[Association]:
    """An association with the source while the block runs. Its C-STOREs, if it sends any, go the usual way.

    trail: told of them when the block ends.

    Raises PeerUnreachable if there is none, PeerRejected if the source offers neither query nor retrieval.
    """
    # Or pynetdicom makes log lines of every identifier, and pydicom of what it finds wrong in it.
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    is_get = source.retrieve == "get"
    with opened(
        Requestor(calling_ae, timeout_s=source.timeout_s),
        source,
        source.ae_title,
        contexts=_contexts(is_get=is_get),
        refusal="offers neither query nor retrieval (Study Root)",
        max_pdu=_MAX_PDU_BYTES,
        ext_neg=[build_role(uid, scp_role=True) for uid in storage_classes()] if is_get else None,
    ) as assoc:

        def tell(transfer: Transfer) -> None:
            trail.fetched(Sender(assoc.acceptor.address, source.ae_title), transfer)

        transfers = Transfers(tell)
        assoc.bind(evt.EVT_C_STORE, _on_c_store, [intake, source.ae_title, transfers])
        try:
            yield assoc
        finally:
            transfers.tell()


@contextmanager
def limited(assoc: Association, longest_s: float) -> Iterator[None]:
    """Abort the association if the block takes longer: each answer may come in time, and there be no end of them."""
    watch = threading.Timer(longest_s, assoc.abort)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def require_context(assoc: Association, sop_class_uid: str, source: DicomPeer) -> None:
    """Raise PeerRejected where the source did not accept the service, PeerUnreachable where it has hung up."""
    if not assoc.is_established:
        raise PeerUnreachable(f"{source.ae_title} ended the association")
    if sop_class_uid not in {context.abstract_syntax for context in assoc.accepted_contexts}:
        name = {STUDY_ROOT_FIND: "C-FIND", STUDY_ROOT_MOVE: "C-MOVE", STUDY_ROOT_GET: "C-GET"}[sop_class_uid]
        raise PeerRejected(f"{source.ae_title} does not offer {name} (Study Root)")


def _on_c_store(event: evt.Event, intake: Intake, calling_ae: str, transfers: Transfers) -> int:
    status, kept = keep_whole(intake, event, calling_ae=calling_ae)
    if kept is not None:
        transfers.add(kept)
    return status


def _contexts(*, is_get: bool) -> list[PresentationContext]:
    """What is proposed. For radiographs a context for each compression: a PACS then sends them as it keeps them."""
    if not is_get:
        return [build_context(uid, list(_UNCOMPRESSED)) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE)]
    services = [build_context(uid, list(_UNCOMPRESSED)) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_GET)]
    compressed = [build_context(uid, syntax) for uid in sorted(RADIOGRAPH_SOP_CLASSES) for syntax in COMPRESSED]
    return [*services, *(build_context(uid, list(_UNCOMPRESSED)) for uid in storage_classes()), *compressed]


def storage_classes() -> list[str]:
    """The storage classes that there is a place for, the likeliest first."""
    others = [str(each.abstract_syntax) for each in StoragePresentationContexts]
    places = _MOST_CONTEXTS - 2 - len(RADIOGRAPH_SOP_CLASSES) * len(COMPRESSED)
    return list(dict.fromkeys([*sorted(RADIOGRAPH_SOP_CLASSES), *_COMPANIONS, *others]))[:places]
