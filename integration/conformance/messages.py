"""The HL7 profile: what is sent, what is taken, in which sets of characters, and how it is acknowledged."""

from collections.abc import Callable, Collection, Mapping
from typing import get_args

from dicom_node.peers import MllpDestination
from integration import report_message
from integration.acknowledgement import CONDITIONS as ERROR_CONDITIONS
from integration.acknowledgement import REFUSALS
from integration.conformance.markdown import NONE, table
from integration.hl7_charset import CHARACTER_SETS
from integration.inbound_message import READERS
from integration.order_message import CANCELLED, CANCELS, PRIORITIES, PRIORITY_PLACES, TELLS, read_orders
from integration.order_numbers import PRIORITIES as SENT_PRIORITIES
from integration.oru_terms import CONDITIONS, DELETED, DRAFT_STATUSES, FINDINGS, NO_RESULT, UID_STATUS, WITHOUT_TQ1
from integration.patient_message import read_merges, read_update
from integration.sr_content import REPORT


def message_facts() -> Mapping[str, str]:
    return _sent() | _taken() | _of_orders() | _of_reports()


def _sent() -> dict[str, str]:
    return {
        "sent_versions": _choices("version"),
        "versions_without_tq1": ", ".join(WITHOUT_TQ1),
        "text_types": _choices("text_type"),
        "sent_character_sets": _choices("character_set"),
        "draft_statuses": " or ".join(f"`{each}`" for each in DRAFT_STATUSES),
        "uid_status": UID_STATUS,
        "no_result_status": NO_RESULT,
        "deleted_status": DELETED,
        "findings_code": FINDINGS.value,
        "report_code": REPORT.value,
        "conditions": table(
            ("`acknowledgement`", "MSH-15", "MSH-16"),
            ((mode, accept or NONE, application or NONE) for mode, (accept, application) in CONDITIONS.items()),
        ),
        "sent_priorities": ", ".join(f"{code} ({text})" for code, text in SENT_PRIORITIES.values()),
    }


def _taken() -> dict[str, str]:
    rows = ((f"A{letter}", f"{condition} {ERROR_CONDITIONS[condition]}", when) for letter, condition, when in REFUSALS)
    return {
        "refusals": table(("answer", "condition", "when"), rows),
        "taken_character_sets": ", ".join(CHARACTER_SETS),
        "order_messages": _read_by(read_orders),
        "update_messages": _read_by(read_update),
        "merge_messages": _read_by(read_merges),
        "report_messages": _read_by(report_message.read_finals),
    }


def _of_orders() -> dict[str, str]:
    places = (f"{segment}-{field}" + (f".{part}" if part > 1 else "") for segment, field, part in PRIORITY_PLACES)
    return {
        "order_controls": _sorted(TELLS - {""}),
        "cancelling_controls": _sorted(CANCELS),
        "cancelled_statuses": _sorted(CANCELLED),
        "priority_places": ", ".join(places),
        "taken_priorities": ", ".join(f"{word} {rank}" for word, rank in PRIORITIES.items()),
    }


def _of_reports() -> dict[str, str]:
    return {
        "final_statuses": _sorted(report_message.FINAL),
        "not_text": _sorted(report_message.NO_TEXT),
        "taken_back": _sorted(report_message.TAKEN_BACK),
        "findings_codes": _sorted(report_message.FINDINGS),
        "impression_codes": _sorted(report_message.IMPRESSION),
    }


def _choices(setting: str) -> str:
    return ", ".join(map(str, get_args(MllpDestination.model_fields[setting].annotation)))


def _read_by(reader: Callable[..., object]) -> str:
    types = (f"{kind}^{event}" for kind, events in READERS.items() for event, each in events.items() if each is reader)
    return ", ".join(types)


def _sorted(codes: Collection[str]) -> str:
    return ", ".join(sorted(codes))
