"""A C-STORE that pynetdicom received whole, put through the intake (PS3.4 B.2.3)."""

from typing import cast

from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from dicom_node.receive.announcement import Announcement
from dicom_node.receive.header import InstanceHeader
from dicom_node.receive.intake import Intake


def keep_whole(intake: Intake, event: Event, *, calling_ae: str) -> tuple[int, InstanceHeader | None]:
    """The status to answer to EVT_C_STORE, and what is durable now, where that is Success."""
    request = cast(C_STORE, event.request)
    deposit = intake.begin(
        Announcement(
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            calling_ae=calling_ae,
        )
    )
    deposit.write([event.encoded_dataset(include_meta=False)])
    return deposit.finish(), deposit.header
