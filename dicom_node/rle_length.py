"""How long the segments of an RLE frame become: a decoder makes room for that, up to 64 times of what was sent."""

import struct

_HEADER = struct.Struct("<16L")  # PS3.5 G.5: how many segments there are, and where each begins
_NOTHING = 128  # PS3.5 G.3.2


def longest_segment(frame: bytes, *, limit: int) -> int:
    """In decoded bytes; one that is longer than the limit is not counted to its end. Raises struct.error."""
    count, *offsets = _HEADER.unpack_from(frame)
    begins, ends = offsets[:count], [*offsets[1:count], len(frame)]
    return max((_length(frame, begin, end, limit) for begin, end in zip(begins, ends, strict=False)), default=0)


def _length(frame: bytes, at: int, end: int, limit: int) -> int:
    """Source: PS3.5 G.3.2: bytes to copy, or one to repeat."""
    length = 0
    while at < end and length <= limit:
        control = frame[at]
        if control < _NOTHING:
            length += control + 1
            at += control + 2
        else:
            length += 257 - control if control > _NOTHING else 0
            at += 2 if control > _NOTHING else 1
    return length
