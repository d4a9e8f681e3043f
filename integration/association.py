"""Associations with a PACS for the services beside storage, proposed with what we need and nothing else."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.association import Association

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.peers import DicomDestination
from dicom_node.requestor import Requestor
from dicom_node.tls import client_context


@contextmanager
def associated(
    destination: DicomDestination,
    calling_ae: str,
    *,
    sop_class_uid: str,
    handlers: Sequence[evt.EventHandlerType] = (),
) -> Iterator[Association]:
    """An association for one SOP class while the block runs; each wait in it lasts at most `timeout_s`.

    Raises PeerUnreachable if there is none, PeerRejected if the PACS does not offer the class.
    """
    ae = Requestor(calling_ae)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = destination.timeout_s
    try:
        assoc = _associate(ae, destination, sop_class_uid, handlers)
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()
    finally:
        ae.hang_up()


def _associate(
    ae: Requestor, to: DicomDestination, sop_class_uid: str, handlers: Sequence[evt.EventHandlerType]
) -> Association:
    try:
        assoc = ae.associate(
            to.host,
            to.port,
            contexts=[build_context(sop_class_uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])],
            ae_title=to.ae_title,
            tls_args=(client_context(to.tls), to.host) if to.tls else None,
            evt_handlers=list(handlers),
        )
    except OSError as error:  # before the attempt to connect, whose errors pynetdicom takes for itself
        words = f"{to.ae_title} cannot be reached: {error.strerror or type(error).__name__}"
        raise PeerUnreachable(words) from error
    if assoc.is_established:
        return assoc
    if assoc.rejected_contexts:
        raise PeerRejected(f"{to.ae_title} does not offer the service")
    words = "rejected the association" if assoc.is_rejected else "cannot be reached, or ended the association"
    raise PeerUnreachable(f"{to.ae_title} {words}")
