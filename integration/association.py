"""Associations with a PACS for the services beside storage, proposed with what we need and nothing else."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.association import Association

from dicom_node.peers import DicomDestination
from dicom_node.requestor import Requestor, opened


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
    with opened(
        Requestor(calling_ae, timeout_s=destination.timeout_s),
        destination,
        destination.ae_title,
        contexts=[build_context(sop_class_uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])],
        refusal="does not offer the service",
        evt_handlers=list(handlers),
    ) as assoc:
        yield assoc
