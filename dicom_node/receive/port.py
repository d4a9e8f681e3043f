"""The DICOM port: one listening socket for all processes that receive; whoever is free takes the next connection."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, replace

from dicom_node.config import Settings
from dicom_node.errors import Permanent
from dicom_node.receive.places import Place, Places

_BACKLOG = 1024  # pynetdicom's 5 drops connections of a busy minute


@dataclass(frozen=True)
class Port:
    """As one of the processes has it."""

    listening: socket.socket
    places: Places
    number: int = 0  # of the process

    def of(self, number: int) -> "Port":
        """As another process has it."""
        return replace(self, number=number)

    def exchange(self, count_own: Callable[[], list[Place]]) -> tuple[list[Place], list[Place]]:
        """Say which places this process has given, and hear which the others have: its own, theirs."""
        return self.places.exchange(self.number, count_own)

    def close(self) -> None:
        self.listening.close()
        self.places.close()


def open_port(settings: Settings) -> Port:
    """Raises Permanent where the address is not ours, or the port is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise Permanent(f"DICOM port {settings.port} cannot be bound: {error.strerror}") from error
    listening.setblocking(False)  # another process may have been faster to accept
    return Port(listening, Places())
