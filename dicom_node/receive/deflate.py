"""Deflated data sets (PS3.5 A.5), which pydicom inflates in memory to read a header."""

import threading
import zlib

from dicom_node.errors import InvalidHeader
from dicom_node.receive.plain_elements import Readable

inflating = threading.Lock()  # held while one is inflated: memory for one at a time

_MOST_INFLATED_BYTES = 256 * 1024 * 1024
_STEP_BYTES = 1024 * 1024


def refuse_deflate_bomb(data_set: Readable) -> None:
    """Raise InvalidHeader if what follows in the stream inflates to more than any image needs, or not at all.

    Nothing is kept: memory is bounded whatever the stream holds.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, b""
    try:
        while not inflater.eof and (rest or (rest := data_set.read(_STEP_BYTES))):
            size += len(inflater.decompress(rest, _STEP_BYTES))
            rest = inflater.unconsumed_tail
            if size > _MOST_INFLATED_BYTES:
                raise InvalidHeader(f"data set inflates to more than {_MOST_INFLATED_BYTES} bytes")
    except zlib.error as error:
        raise InvalidHeader("data set cannot be inflated, expected a deflate stream") from error
