"""multipart/related (RFC 2387, RFC 2046 5.1.1) as it comes, in pieces of any size.

No sockets here, and bounded memory: content is handed on as views, and no more of it is kept than a delimiter is long.
What the parts' headers say is not looked at: a DICOM file tells by itself what it is.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_CRLF = b"\r\n"
_LONGEST_LINE_BYTES = 256  # of white space after a delimiter
LONGEST_HEADERS_BYTES = 8 * 1024  # of one part


class BadMultipart(Exception):
    """The sender broke the format. The text says how, in numbers."""


class Piece(NamedTuple):
    """Some of a part's content. The first piece after a last one begins the next part."""

    content: memoryview
    is_last: bool


class MultipartParser:
    """One body."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = _CRLF  # a delimiter begins with a line's end, but the first may begin the body
        self._at = 0
        self._take: Callable[[], Sequence[Piece] | None] = self._take_preamble

    @property
    def is_complete(self) -> bool:
        """Whether the last delimiter came; what follows it means nothing."""
        return self._take == self._take_epilogue

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """What the chunk brings. To be read to its end before the next. Raises BadMultipart."""
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        while (pieces := self._take()) is not None:
            yield from pieces

    # Each takes what is next in the buffer; None: more has to come.

    def _take_preamble(self) -> Sequence[Piece] | None:
        self._take_until_delimiter()
        return () if self._take == self._take_delimiter_line else None

    def _take_delimiter_line(self) -> Sequence[Piece] | None:
        rest = self._buffer[self._at : self._at + _LONGEST_LINE_BYTES]
        if rest.startswith(b"--"):
            self._take = self._take_epilogue
            return ()
        padding, line_end, _ = rest.partition(_CRLF)
        begun = () if line_end else (b"-", b"\r")  # of what may still come
        if padding.strip(b" \t") not in (b"", *begun) or len(padding) == _LONGEST_LINE_BYTES:
            raise BadMultipart("a delimiter is followed by something else, expected the end of the line")
        if not line_end:
            return None
        self._at += len(padding)
        self._take = self._take_headers
        return ()

    def _take_headers(self) -> Sequence[Piece] | None:
        """From the end of the delimiter's line to an empty one, which may be the next."""
        end = self._buffer.find(_CRLF + _CRLF, self._at)
        if (end if end >= 0 else len(self._buffer)) - self._at > LONGEST_HEADERS_BYTES:
            raise BadMultipart(f"a part has headers of more than {LONGEST_HEADERS_BYTES} bytes")
        content = end + len(_CRLF)  # if there is none, the delimiter begins with the empty line's end
        if end < 0 or len(self._buffer) < content + len(self._delimiter):
            return None
        self._at = content if self._buffer.startswith(self._delimiter, content) else content + len(_CRLF)
        self._take = self._take_content
        return ()

    def _take_content(self) -> Sequence[Piece] | None:
        content = self._take_until_delimiter()
        is_last = self._take == self._take_delimiter_line
        return (Piece(content, is_last),) if content or is_last else None

    def _take_epilogue(self) -> None:
        self._at = len(self._buffer)

    def _take_until_delimiter(self) -> memoryview:
        """All that is surely none, or what is before it, and then it."""
        begin, found = self._at, self._buffer.find(self._delimiter, self._at)
        if found >= 0:
            end, self._at = found, found + len(self._delimiter)
            self._take = self._take_delimiter_line
        else:
            end = self._at = max(begin, len(self._buffer) - len(self._delimiter) + 1)
        return memoryview(self._buffer)[begin:end]
