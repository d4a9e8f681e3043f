"""A role of this machine is asked how it is: by a socket, without the database and without most of the program.

Compose asks every role every twenty seconds. Reading its row would take a second of a processor each time, nearly all
of it to load what reads rows; the role itself knows. The socket has a name of Linux's abstract ones: it needs no file
where no file can be made, a container has its own, and it is gone with the process. Where nobody answers, who asks
looks at the row.
"""

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

# They tell one node of a machine from another. Read here: what checks settings takes longest of all to load.
_VARIABLES = ("DICOM_NODE_CONFIG", "DICOM_NODE_DATA_DIR")
_ANSWER_S = 3.0  # a process that hangs takes connections, and says nothing
_WELL, _UNWELL = b"+", b"-"
_LONGEST_BYTES = 4096


@dataclass(frozen=True)
class Answer:
    """How a role says it is."""

    is_well: bool
    words: str  # a sentence


def ask(role: str) -> Answer | None:
    """None: nobody of that name answers here."""
    with socket.socket(socket.AF_UNIX) as caller, suppress(OSError):
        caller.settimeout(_ANSWER_S)
        caller.connect(_name_of(role))
        said = caller.recv(_LONGEST_BYTES)
        if said[:1] in (_WELL, _UNWELL):
            return Answer(said[:1] == _WELL, said[1:].decode())
    return None


@contextmanager
def answering(role: str, answer: Callable[[], Answer]) -> Iterator[None]:
    """Answer whoever asks, from a thread of its own, while the block runs.

    Of two processes of a role the first answers: in `health` they count as one, too.
    """
    with socket.socket(socket.AF_UNIX) as listening:
        with suppress(OSError):
            listening.bind(_name_of(role))
            listening.listen()
            threading.Thread(target=_serve, args=(listening, answer), name="probe", daemon=True).start()
        try:
            yield
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # or the thread would stay in accept


def _serve(listening: socket.socket, answer: Callable[[], Answer]) -> None:
    with suppress(OSError):  # it is shut
        while True:
            caller, _ = listening.accept()
            with caller, suppress(OSError):
                said = answer()
                caller.settimeout(_ANSWER_S)
                caller.sendall(((_WELL if said.is_well else _UNWELL) + said.words.encode())[:_LONGEST_BYTES])


def _name_of(role: str) -> str:
    which = [os.getcwd(), *(os.environ.get(each, "") for each in _VARIABLES)]
    digest = hashlib.sha256("\n".join(which).encode()).hexdigest()
    return f"\0dicom-node-{role}-{digest[:32]}"
