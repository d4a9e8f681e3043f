"""The destinations of the settings. A new kind of destination is one more line here."""

from dicom_node.config import Settings
from dicom_node.states import DeliveryKind
from integration.destinations import Destination
from integration.mllp import MllpSender
from integration.store_scu import StoreScu


def build_destinations(settings: Settings) -> tuple[Destination, ...]:
    """One sender per configured RIS, and per PACS and kind of object."""
    return (
        *(StoreScu(each, settings.ae_title, DeliveryKind(kind)) for each in settings.pacs for kind in each.objects),
        *(MllpSender(each) for each in settings.ris),
    )
