"""Which signs that a study is complete the port takes, as the settings say."""

from collections.abc import Mapping
from functools import partial

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt

from dicom_node.peers import Completeness
from dicom_node.receive.association_end import AssociationEnds
from dicom_node.receive.availability import INSTANCE_AVAILABILITY_NOTIFICATION, note_availability
from dicom_node.receive.intake import Receiver
from dicom_node.receive.mpps import MODALITY_PERFORMED_PROCEDURE_STEP, create_step, set_step
from dicom_node.receive.normalized import Service, make_handler

# Not deflated, which a small message could be a large one in.
UNCOMPRESSED = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]


def hint_sop_classes(rules: Completeness) -> tuple[str, ...]:
    """The SOP classes to accept presentation contexts for."""
    taken = {
        MODALITY_PERFORMED_PROCEDURE_STEP: rules.on_mpps,
        INSTANCE_AVAILABILITY_NOTIFICATION: rules.on_availability,
    }
    return tuple(sop_class for sop_class, is_taken in taken.items() if is_taken)


def make_hint_handlers(rules: Completeness, receiver: Receiver) -> list[evt.EventHandlerType]:
    """The handlers of whatever the rules go by."""
    created: Mapping[str, Service] = {
        MODALITY_PERFORMED_PROCEDURE_STEP: partial(create_step, receiver),
        INSTANCE_AVAILABILITY_NOTIFICATION: partial(note_availability, receiver),
    }
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_N_CREATE, make_handler(created)),
        (evt.EVT_N_SET, make_handler({MODALITY_PERFORMED_PROCEDURE_STEP: partial(set_step, receiver)})),
    ]
    return [*handlers, *_end_handlers(receiver)] if rules.on_release else handlers


def _end_handlers(receiver: Receiver) -> list[evt.EventHandlerType]:
    ends = AssociationEnds(receiver)
    return [
        (evt.EVT_REQUESTED, ends.on_requested),
        (evt.EVT_RELEASED, ends.on_released),
        (evt.EVT_ABORTED, ends.on_aborted),
    ]
