"""The ORU^R01 that takes a withdrawn draft back: it deletes the rows of the one before and holds no findings.

Whatever a receiver makes of it, no draft stays in sight: one that knows OBX-11 = D deletes the rows, one that writes
over rows of the same OBX-3 and OBX-4 has none of the old left, and one that shows the newest message shows a sentence.
"""

from datetime import datetime

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.escape import escape
from integration.hl7_charset import encode_text
from integration.oru_gate import check_cancellation
from integration.oru_segments import Observation, Result, sr_rows, write_segments
from integration.oru_terms import (
    CANCELLED_MESSAGE,
    DELETED,
    NO_RESULT,
    STUDY_INSTANCE_UID,
    UID_STATUS,
    cancellation_id,
    control_id,
)
from integration.oru_text import text_code, text_values
from integration.report_text import withdrawal_line
from integration.source_header import SourceHeader


def encode_cancellation(document: ReportDocument, destination: MllpDestination) -> Encoded:
    """Write the message, after it passed its gate. Raises InvalidOutput, also for a draft that stands."""
    payload = encode_text(build_cancellation(document, destination), destination.character_set)
    check_cancellation(payload, document, destination)
    return Encoded(payload=payload, identifier=cancellation_id(document, destination))


def build_cancellation(document: ReportDocument, destination: MllpDestination) -> str:
    """Make the message as ER7 text; segments end with CR. Equal arguments give equal messages."""
    result = Result(
        control_id=cancellation_id(document, destination),
        at=_withdrawn_at(document),
        status=NO_RESULT,
        observations=_observations(document, destination),
    )
    return write_segments(result, document, destination)


def _withdrawn_at(document: ReportDocument) -> datetime:
    if document.withdrawn_at is None:
        raise InvalidOutput("ORU: a draft that was not withdrawn is not cancelled")
    return document.withdrawn_at


def _observations(document: ReportDocument, destination: MllpDestination) -> tuple[Observation, ...]:
    """All rows of text that were sent, without their values, and which message is cancelled."""
    study_uid = SourceHeader.of(document.evidence).require("StudyInstanceUID")
    words = text_values((withdrawal_line(document.drafted_at, document.time_zone),), document, destination)
    values = (*words, *[""] * (document.rows_sent - 1))
    code = text_code(destination)
    return (
        Observation("ST", STUDY_INSTANCE_UID, study_uid, UID_STATUS),
        *(Observation(destination.text_type, code, value, DELETED, str(at)) for at, value in enumerate(values, 1)),
        *sr_rows(document, DELETED),
        Observation("ST", CANCELLED_MESSAGE, escape(control_id(document, destination)), UID_STATUS),
    )
