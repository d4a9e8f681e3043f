"""Time-outs and limits that are no settings."""

from collections.abc import Mapping

from dicom_node.models import Pull
from dicom_node.pull import priors, query, retrieve
from dicom_node.receive import commitment_report, event_report, listener, media, scp
from dicom_node.web import multipart, server, upload
from integration import commitment_scu, er7, inbound_message
from integration.conformance.markdown import binary, number
from integration.mllp_conversation import Limits
from integration.reading import LONGEST_IDENTIFIER, MOST_IDENTIFIERS


def limit_facts() -> Mapping[str, str]:
    numbers = {**_of_associations(), **_of_pulling(), **_of_messages()}
    return {**{name: number(value) for name, value in numbers.items()}, **_sizes()}


def _of_associations() -> dict[str, float]:
    return {
        "acse_timeout_s": scp.ACSE_TIMEOUT_S,
        "handshake_timeout_s": listener.HANDSHAKE_TIMEOUT_S,
        "stop_grace_s": listener.GRACE_S,
        "most_silent": listener.MOST_SILENT,
        "most_silent_in_all": listener.MOST_SILENT_IN_ALL,
        "commitment_silence_s": event_report.SILENCE_S,
        "commitment_answer_timeout_s": commitment_report.ANSWER_TIMEOUT_S,
        "commitment_lanes": commitment_report.LANES,
        "commitment_stay_s": commitment_scu.WAIT_FOR_ANSWER_S,
        "http_silence_s": server.SILENCE_S,
        "http_most_silent": server.MOST_SILENT,
        "most_parts": upload.MOST_PARTS,
    }


def _of_pulling() -> dict[str, float]:
    return {
        "longest_query_s": query.LONGEST_QUERY_S,
        "most_answers": query.MOST_ANSWERS,
        "longest_search_s": priors.LONGEST_SEARCH_S,
        "longest_retrieval_s": retrieve.LONGEST_RETRIEVAL_S,
        "most_pull_attempts": Pull.MOST_ATTEMPTS,
        "most_zip_ratio": media.MOST_RATIO,
    }


def _of_messages() -> dict[str, float]:
    return {
        "mllp_connections": Limits.connections,
        "mllp_connections_of_one": Limits.connections_of_one,
        "mllp_idle_s": Limits.idle_s,
        "mllp_message_s": Limits.message_s,
        "most_batch_messages": er7.MOST_MESSAGES,
        "most_delimiters": inbound_message.MOST_DELIMITERS,
        "longest_identifier": LONGEST_IDENTIFIER,
        "most_identifiers": MOST_IDENTIFIERS,
    }


def _sizes() -> dict[str, str]:
    return {
        "longest_part_headers": binary(multipart.LONGEST_HEADERS_BYTES),
        "longest_member": binary(media.LONGEST_MEMBER_BYTES),
        "small_member": binary(media.SMALL_BYTES),
        "mllp_message": binary(Limits.message_bytes),
        "mllp_held": binary(Limits.held_bytes),
    }
