"""The draft as an ORU^R01, in the version, text type and character set of its destination."""

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.hl7_charset import encode_text
from integration.oru_gate import check_oru
from integration.oru_segments import Observation, Result, sr_rows, write_segments
from integration.oru_terms import DELETED, DRAFT_STATUSES, STUDY_INSTANCE_UID, UID_STATUS, control_id
from integration.oru_text import draft_lines, text_code, text_values
from integration.report_text import split_lines
from integration.source_header import SourceHeader


def build_oru(document: ReportDocument, destination: MllpDestination) -> str:
    """Make the message as ER7 text; segments end with CR. Equal arguments give equal messages.

    Raises InvalidOutput if there is no text, no study, or a status other than P and R.
    """
    if destination.result_status not in DRAFT_STATUSES:
        raise InvalidOutput(f"ORU: OBR-25 = {destination.result_status}, expected P or R")
    for name in ("findings", "disclaimer"):
        if not split_lines(getattr(document, name)):
            raise InvalidOutput(f"ORU: {name} is empty, expected text")
    result = Result(
        control_id=control_id(document, destination),
        at=document.drafted_at,
        status=destination.result_status,
        observations=_observations(document, destination),
    )
    return write_segments(result, document, destination)


def encode_oru(document: ReportDocument, destination: MllpDestination) -> Encoded:
    """Write the message in its character set, without its frame, after it passed its gate. Raises InvalidOutput."""
    payload = encode_text(build_oru(document, destination), destination.character_set)
    check_oru(payload, document, destination)
    return Encoded(payload=payload, identifier=control_id(document, destination))


def _observations(document: ReportDocument, destination: MllpDestination) -> tuple[Observation, ...]:
    """The study, the text, what a longer draft before has left, the SR that holds the same text where there is one."""
    study_uid = SourceHeader.of(document.evidence).require("StudyInstanceUID")
    code, status = text_code(destination), destination.result_status
    values = text_values(draft_lines(document), document, destination)
    return (
        Observation("ST", STUDY_INSTANCE_UID, study_uid, UID_STATUS),
        *(Observation(destination.text_type, code, value, status, str(at)) for at, value in enumerate(values, 1)),
        *(
            Observation(destination.text_type, code, "", DELETED, str(at))
            for at in range(len(values) + 1, document.rows_sent + 1)
        ),
        *sr_rows(document, UID_STATUS),
    )
