"""Peers that mean harm, each over a socket of its own on this machine.

As a program, `attackers.py PORT SECONDS` attacks for so long by all means at once, in a process of its own, so that it
takes no time from whoever measures.
"""

import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from senders import film
from wire import Wire, association_request, fragment, store_command

DX, EXPLICIT = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.1.2.1"
ABORT = b"\x07\0\0\0\0\x04\0\0\0\0"  # A-ABORT, PS3.8 9.3.8
FOUR_GIGABYTES = 0xFFFF_FFF0
_UID = "1.2.7777777.7777777.7777777"
_SLOWLY_S = 1.0
_SOON_S = 0.05

# What is said on an association before the peer falls silent, or is cut off; all of it is a whole object.
REQUEST = association_request((DX, EXPLICIT))
OBJECT = fragment(store_command(DX, _UID, has_data_set=True), is_command=True) + fragment(film(_UID, 400))
# What is answered by hanging up, at once: on a connection, and on an association.
NONSENSE = {
    "noise": os.urandom(3000),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
    "a request of 4 GB": struct.pack(">BBI", 1, 0, FOUR_GIGABYTES) + bytes(1000),
    "data before any association": OBJECT,
}
NONSENSE_WITHIN = {
    "a PDU of 4 GB": struct.pack(">BBI", 4, 0, FOUR_GIGABYTES) + bytes(1000),
    "a value of 4 GB": struct.pack(">BBIIBB", 4, 0, 1000, FOUR_GIGABYTES, 1, 3) + bytes(1000),
    "a second request": REQUEST,
    "noise": b"\xff" + os.urandom(3000),
}


def say(port: int, words: bytes, *, within: bool = False) -> Wire:
    """A connection, or an association, on which this was said and nothing more will be."""
    wire = Wire(port)
    with suppress(OSError):
        if within:
            wire.associate((DX, EXPLICIT))
        wire.socket.sendall(words)
    return wire


def is_hung_up(wire: Wire, timeout_s: float) -> bool:
    """Whether the node closes the connection in time; what it says before is passed over."""
    wire.socket.settimeout(timeout_s)
    deadline = time.monotonic() + timeout_s
    with suppress(ConnectionError):
        try:
            while wire.socket.recv(4096):
                if time.monotonic() > deadline:
                    return False
        except TimeoutError:
            return False
    return True


def cut_off(port: int, at: int, how: str) -> None:
    """Break an association off after so many bytes of its request and an object: by "rst", "fin" or "abort"."""
    within = at >= len(REQUEST)
    with say(port, OBJECT[: at - len(REQUEST)] if within else REQUEST[:at], within=within) as wire:
        if how == "abort":
            with suppress(OSError):
                wire.socket.sendall(ABORT)
        if how == "rst":
            wire.reset()


def trickle(port: int, words: bytes, stop: threading.Event, *, within: bool = False) -> float:
    """One byte a second, until the node hangs up. Returns how long it did not."""
    began = time.monotonic()
    with suppress(OSError), say(port, b"", within=within) as wire:
        wire.socket.settimeout(_SLOWLY_S)
        for byte in words:
            wire.socket.sendall(bytes([byte]))
            with suppress(TimeoutError):
                if not wire.socket.recv(4096):
                    break
            if stop.is_set():
                break
    return time.monotonic() - began


def attack(port: int, stop: threading.Event, *, idle: int = 200, silent: int = 50, slow: int = 8) -> None:
    """All at once, until stopped: many that do nothing, some that are slow, one after the other that talks nonsense."""
    with ExitStack() as held:
        for _ in range(idle):
            held.enter_context(say(port, b"", within=True))
        for number in range(silent):
            held.enter_context(say(port, REQUEST[: number % len(REQUEST)]))
        threads = [threading.Thread(target=trickle, args=(port, OBJECT, stop)) for _ in range(slow)]
        for thread in threads:
            held.callback(thread.join)
            thread.start()
        print("attacking", flush=True)
        for once in _one_after_the_other(port):
            with suppress(OSError):
                once()
            if stop.wait(_SOON_S):
                return


def _one_after_the_other(port: int) -> Iterator[Callable[[], object]]:
    while True:
        for words in NONSENSE.values():
            yield lambda words=words: say(port, words).__exit__()  # type: ignore[misc]
        for words in NONSENSE_WITHIN.values():
            yield lambda words=words: say(port, words, within=True).__exit__()  # type: ignore[misc]
        for at in range(0, len(REQUEST) + len(OBJECT), 50):
            yield lambda at=at: cut_off(port, at, "rst")  # type: ignore[misc]


def main() -> None:
    stop = threading.Event()
    threading.Timer(float(sys.argv[2]), stop.set).start()
    attack(int(sys.argv[1]), stop)


if __name__ == "__main__":
    main()
