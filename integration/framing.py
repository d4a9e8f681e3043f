"""MLLP blocks: how an HL7 message begins and ends on a stream. Source: HL7 2.5.1 appendix C.4."""

import re

from dicom_node.errors import PeerUnreachable

START_OF_BLOCK = b"\x0b"
END_OF_BLOCK = b"\x1c\r"
MAX_FRAME_BYTES = 64 * 1024 * 1024
# What begins a message and not a line of text: word processors break lines by the same character.
_BEGINNING = re.compile(rb"\x0b(?=(?:\xef\xbb\xbf)?[\r\n\t ]*(?:MSH|FHS|BHS))")


class Deframer:
    """Takes bytes as they come and gives whole messages; one for each connection.

    Bytes before a start of block are dropped, and so is a block that is cut off by the start of the next one.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes that hold no end of block
        self._max_bytes = max_bytes

    def feed(self, received: bytes) -> list[bytes]:
        """Add bytes; return the messages that are now complete, without their frames.

        Raises PeerUnreachable if a message grows beyond the limit: the connection is of no more use.
        """
        self._buffer += received
        messages = []
        while (end := self._buffer.find(END_OF_BLOCK, self._searched)) >= 0:
            if (start := self._start_before(end)) >= 0:
                messages.append(bytes(self._buffer[start + 1 : end]))
            del self._buffer[: end + len(END_OF_BLOCK)]
            self._searched = 0
        start = self._buffer.find(START_OF_BLOCK)
        del self._buffer[: start if start >= 0 else len(self._buffer)]
        self._searched = max(len(self._buffer) - 1, 0)
        if len(self._buffer) > self._max_bytes:
            raise PeerUnreachable(f"sent a message of more than {self._max_bytes} bytes")
        return messages

    def _start_before(self, end: int) -> int:
        """Where the last message begins, else the last block; -1 for none."""
        beginnings = [found.start() for found in _BEGINNING.finditer(self._buffer, 0, end)]
        return beginnings[-1] if beginnings else self._buffer.rfind(START_OF_BLOCK, 0, end)

    def __len__(self) -> int:
        """The bytes so far of a message that is not complete; 0 between messages."""
        return len(self._buffer)

    def beginning(self, most: int) -> bytes:
        """The first `most` bytes of a message that is not complete."""
        return bytes(self._buffer[1 : 1 + most])


def frame(message: bytes) -> bytes:
    """Put a message into an MLLP block. Source: HL7 2.5.1 appendix C.4."""
    return START_OF_BLOCK + message + END_OF_BLOCK
