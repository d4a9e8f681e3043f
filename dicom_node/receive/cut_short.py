"""Files of which the end is missing: a copy that was broken off. Whoever has the whole one is to send it."""

import struct
from io import SEEK_CUR, SEEK_END

from dicom_node.errors import InvalidHeader
from dicom_node.receive.plain_elements import END_OF_SEQUENCE, Readable

_UNDEFINED = 0xFFFFFFFF
_ITEM_HEAD = struct.Struct("<HHI")  # of a fragment, PS3.5 A.4; what is encapsulated is little endian
_ITEM = (0xFFFE, 0xE000)


def refuse_cut_short(file: Readable, length: int, *, is_pixels: bool) -> None:
    """Raise InvalidHeader where the value of an element, or one of its fragments, goes on behind the end of the file.

    file: at the beginning of the value, and again afterwards. length: as the element gives it.
    Not where the file ends between two fragments: there are senders that leave out what ends the last.
    """
    at = file.tell()
    end = file.seek(0, SEEK_END)
    file.seek(at)
    if length != _UNDEFINED:
        is_cut = length > end - at
    else:
        is_cut = is_pixels and not _is_ended(file, end) and _has_cut_fragment(file, end, at)
        file.seek(at)
    if is_cut:
        raise InvalidHeader("the file is cut short: an element is longer than what is left of it")


def _is_ended(file: Readable, end: int) -> bool:
    """Whether the file ends as pixels do: the quick reader looks at no more than that."""
    file.seek(end - len(END_OF_SEQUENCE))
    return file.read(len(END_OF_SEQUENCE)) == END_OF_SEQUENCE


def _has_cut_fragment(file: Readable, end: int, at: int) -> bool:
    file.seek(at)
    while len(head := file.read(_ITEM_HEAD.size)) == _ITEM_HEAD.size:
        group, number, length = _ITEM_HEAD.unpack(head)
        if (group, number) != _ITEM:
            return False
        if length > end - file.tell():
            return True
        file.seek(length, SEEK_CUR)
    return bool(head)
