"""Instance Availability Notification SCP (PS3.4 R): a PACS says which instances of a study it has.

The standard lets a PACS send these whenever it likes (PS3.4 R.3.2.1.2). Where `on_availability` is set, the site says
that its PACS sends them when a study is complete.
"""

from pydicom.dataset import Dataset

from dicom_node import logs
from dicom_node.receive.catalog import RADIOGRAPH_SOP_CLASSES
from dicom_node.receive.declarations import declare_complete
from dicom_node.receive.intake import Receiver
from dicom_node.receive.normalized import INVALID_ATTRIBUTE_VALUE, Refused, Request, some_items, text, uid

INSTANCE_AVAILABILITY_NOTIFICATION = "1.2.840.10008.5.1.4.33"  # PS3.4 R.3.3

_UNAVAILABLE = "UNAVAILABLE"
_AVAILABILITIES = frozenset({"ONLINE", "NEARLINE", "OFFLINE", _UNAVAILABLE})  # (0008,0056), PS3.3 C.4.23.1.1

_log = logs.get("availability")


def note_availability(receiver: Receiver, request: Request) -> None:
    """N-CREATE: the study is complete when the radiographs named are here. Durable when it returns; raises Refused.

    A notice of other objects only, such as our own report, says nothing about the images.
    """
    study_instance_uid = uid(request.attributes, "StudyInstanceUID")
    radiographs = _available_radiographs(request.attributes)
    if radiographs:
        with receiver.sessions.begin() as session:
            declare_complete(
                session,
                study_instance_uid=study_instance_uid,
                now=receiver.clock(),
                reason="the PACS announced it (IAN)",
                instances=radiographs,
            )
    _log.info("availability_noted", calling_ae=request.calling_ae, count=len(radiographs))


def _available_radiographs(ds: Dataset) -> frozenset[str]:
    found = set()
    for series in some_items(ds, "ReferencedSeriesSequence"):
        uid(series, "SeriesInstanceUID")
        for reference in some_items(series, "ReferencedSOPSequence"):
            instance, sop_class = uid(reference, "ReferencedSOPInstanceUID"), uid(reference, "ReferencedSOPClassUID")
            if _is_available(reference) and sop_class in RADIOGRAPH_SOP_CLASSES:
                found.add(instance)
    return frozenset(found)


def _is_available(reference: Dataset) -> bool:
    text(reference, "RetrieveAETitle")
    availability = text(reference, "InstanceAvailability")
    if availability not in _AVAILABILITIES:
        raise Refused(INVALID_ATTRIBUTE_VALUE, "InstanceAvailability is not one of the enumerated values")
    return availability != _UNAVAILABLE
