"""What pydicom raises, and what it would say, of data that it cannot parse."""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.errors import BytesLengthException, InvalidDicomError

from dicom_node.errors import InvalidHeader

PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
)

_PYDICOM = re.compile(r"pydicom(\..*)?$")


def silence_pydicom() -> None:
    """Drop pydicom's warnings, which may quote values, for the whole process.

    A filter set once, because `warnings.catch_warnings` is not thread-safe.
    """
    wanted = ("ignore", None, Warning, _PYDICOM, 0)
    if wanted not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PYDICOM.pattern)


@contextmanager
def invalid_header(what: str = "header") -> Iterator[None]:
    """Turn what pydicom raises of data that it cannot parse into InvalidHeader, and let it say nothing.

    what: what was read, for the message. An OSError of the disk goes on as it is.
    """
    silence_pydicom()
    try:
        yield
    except PARSE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the data
        raise InvalidHeader(f"{what} cannot be parsed ({type(error).__name__}), expected DICOM Part 10") from error
