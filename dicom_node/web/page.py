"""What the page's routes share."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.receive.intake import Receiver
from dicom_node.web.door import Door
from dicom_node.web.first_admin import FirstAdmin
from dicom_node.web.peer_tests import PeerTests
from dicom_node.web.templates import Templates


@dataclass(frozen=True)
class Page:
    """The settings, the rows and files, who comes in, what is told to whom, and how it looks."""

    settings: Settings
    receiver: Receiver
    trail: AuditTrail
    door: Door
    first_admin: FirstAdmin
    templates: Templates
    peer_tests: PeerTests

    @property
    def provider(self) -> str:
        """The name of the identity provider for people; empty if there is none."""
        oidc = self.settings.oidc
        return urlsplit(oidc.issuer).hostname or oidc.issuer if oidc else ""

    @classmethod
    def of(cls, settings: Settings, receiver: Receiver, trail: AuditTrail) -> "Page":
        door = Door(settings, receiver.sessions, receiver.clock, trail)
        first_admin, peer_tests = FirstAdmin(receiver.sessions), PeerTests(settings, receiver.clock)
        return cls(settings, receiver, trail, door, first_admin, Templates(settings), peer_tests)
