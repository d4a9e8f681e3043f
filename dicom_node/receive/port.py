"""The DICOM port: one listening socket for all processes that receive; whoever is free takes the next connection."""

import socket
from dataclasses import dataclass, replace

from dicom_node.config import Settings
from dicom_node.receive.places import Place, Places

_BACKLOG = 1024  # pynetdicom's 5 drops connections of a busy minute


@dataclass(frozen=True)
class Port:
    """As one of the processes has it."""

    listening: socket.socket
    places: Places
    process: int = 0  # its number

    def of(self, process: int) -> "Port":
        """As another process has it."""
        return replace(self, process=process)

    def exchange(self, own: list[Place]) -> list[Place]:
        """Say which places this process has given, and hear which the others have."""
        return self.places.exchange(self.process, own)

    def close(self) -> None:
        self.listening.close()
        self.places.close()


def open_port(settings: Settings) -> Port:
    """Raises OSError where the address is not ours, or the port is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError:
        listening.close()
        raise
    listening.listen(_BACKLOG)
    listening.setblocking(False)  # another process may have been faster to accept
    return Port(listening, Places())
