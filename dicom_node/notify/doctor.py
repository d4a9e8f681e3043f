"""The doctor's check of who is told."""

from collections.abc import Iterator

from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok
from dicom_node.notify.channel import is_understood


def check_channels(settings: Settings) -> Iterator[Diagnosis]:
    """Are their addresses such as Apprise knows? Nobody is told anything."""
    for channel in settings.notify:
        what = f"notify {channel.name}"
        if is_understood(channel.url.get_secret_value()):
            yield ok(what, "Apprise knows the service; nothing was sent")
        else:
            fix = "write its url as Apprise does: https://github.com/caronc/apprise/wiki"
            yield fault(what, "Apprise does not know the service, or its url lacks something", fix)
