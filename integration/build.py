"""The destinations of the settings. A new kind of destination is one more line here."""

from dicom_node.config import Settings
from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from integration.destinations import Destination
from integration.mllp import MllpSender
from integration.patient_query import AskingFirst
from integration.store_scu import StoreScu


def build_destinations(settings: Settings) -> tuple[Destination, ...]:
    """One sender per configured RIS, and per PACS and kind of object."""
    return (
        *(_sender(each, settings.ae_title, DeliveryKind(kind)) for each in settings.pacs for kind in each.objects),
        *(_sender(each, settings.ae_title, DeliveryKind.REJECTION) for each in settings.pacs if each.rejection_notes),
        *(MllpSender(each) for each in settings.ris),
        *(MllpSender(each, DeliveryKind.CANCELLATION) for each in settings.ris if each.cancellations),
    )


def _sender(pacs: DicomDestination, ae_title: str, kind: DeliveryKind) -> Destination:
    sender = StoreScu(pacs, ae_title, kind)
    return AskingFirst(sender, pacs, ae_title) if pacs.ask_before_sending else sender
