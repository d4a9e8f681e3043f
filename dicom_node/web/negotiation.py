"""Media types of a STOW-RS request and of its answer (PS3.18 8.7)."""

import re
from collections.abc import Mapping
from email.message import Message

from fastapi import HTTPException

from dicom_node.web.store_response import DICOM_JSON, DICOM_XML

_ANSWERS = {
    DICOM_JSON: DICOM_JSON,
    "application/json": DICOM_JSON,
    "application/*": DICOM_JSON,
    "*/*": DICOM_JSON,
    DICOM_XML: DICOM_XML,
    "application/xml": DICOM_XML,
}
_BOUNDARY = re.compile(r"[\w'()+,\-./:=? ]{0,69}[\w'()+,\-./:=?]", re.ASCII)  # RFC 2046 5.1.1


def answer_type(accept: str) -> str:
    """The first of the accepted media types that we can answer in. Raises HTTPException 406."""
    wanted = [media_range.partition(";")[0].strip().lower() for media_range in accept.split(",")]
    found = [_ANSWERS[each] for each in wanted if each in _ANSWERS]
    if not found:
        raise HTTPException(406, f"the answer is {DICOM_JSON} or {DICOM_XML}")
    return found[0]


def boundary_of(headers: Mapping[str, str]) -> bytes:
    """The boundary of a multipart body of DICOM files (RFC 2387). Raises HTTPException 415, and 400 without one."""
    content_type = Message()
    content_type["Content-Type"] = headers.get("content-type", "")
    types = (content_type.get_content_type(), content_type.get_param("type"))
    if types != ("multipart/related", "application/dicom") or headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, 'expected multipart/related; type="application/dicom" without Content-Encoding')
    boundary = content_type.get_boundary("")
    if not _BOUNDARY.fullmatch(boundary):
        raise HTTPException(400, "expected a boundary of 1–70 characters (RFC 2046 5.1.1)")
    return boundary.encode("ascii")
