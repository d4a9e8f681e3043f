"""The destinations of the settings. A new kind of destination is one more line here."""

from dicom_node.config import Settings
from integration.destinations import Destination
from integration.mllp import MllpSender
from integration.store_scu import StoreScu


def build_destinations(settings: Settings) -> tuple[Destination, ...]:
    """One sender per configured PACS and RIS."""
    return (
        *(StoreScu(each, settings.ae_title) for each in settings.pacs),
        *(MllpSender(each) for each in settings.ris),
    )
