"""Is there anything at all where a peer is said to be?"""

import socket

from dicom_node.doctor.diagnosis import Diagnosis, fault

_LONGEST_S = 5.0


def reach_fault(what: str, host: str, port: int) -> Diagnosis | None:
    """Look up the name and connect, no more. None when both go well."""
    try:
        socket.getaddrinfo(host, port)
    except OSError:
        fix = "set its host to an address, or make the name known to this machine's resolver"
        return fault(what, f"the name {host} has no address (DNS)", fix)
    try:
        socket.create_connection((host, port), timeout=_LONGEST_S).close()
    except ConnectionRefusedError:
        return fault(what, f"nothing listens at {host}:{port}", "start it there, or set its host and port right")
    except OSError as error:
        words = f"{host}:{port} cannot be reached ({error.strerror or 'no answer'})"
        return fault(what, words, "let this machine through the firewalls between, or set its host and port right")
    return None
