"""What the node answers, and what answers mean to it."""

from collections.abc import Mapping

from dicom_node.receive import commitment, commitment_answer, commitment_result, intake, normalized
from integration.conformance.markdown import table
from integration.destinations import Outcome
from integration.mllp import CODES
from integration.store_scu import SINGLE_STATUSES, STATUS_RANGES, judge_status

_WHAT_HAPPENS = {
    Outcome.DELIVERED: "delivered",
    Outcome.RETRY: "sent again later, the same bytes",
    Outcome.REJECTED: "failed: a person must look; `dicom-node retry`",
}
_IN_NO_TABLE = 0xFFFF


def status_facts() -> Mapping[str, str]:
    return {
        "store_statuses": _answered(intake.STATUSES),
        "action_statuses": _answered(commitment.STATUSES),
        "failure_reasons": _answered(commitment_result.FAILURE_REASONS, head="reason"),
        "normalized_statuses": _answered(normalized.STATUSES),
        "event_report_statuses": _answered(commitment_answer.STATUSES),
        "store_answers": _judged(_store_answers(), who="PACS"),
        "mllp_answers": _judged(CODES, who="RIS"),
    }


def _answered(statuses: Mapping[int, tuple[str, str]], *, head: str = "status") -> str:
    return table((head, "when"), ((f"{code:04X} {name}", when) for code, (name, when) in sorted(statuses.items())))


def _store_answers() -> Mapping[str, tuple[Outcome, str]]:
    single = {f"{status:04X}": answer for status, answer in sorted(SINGLE_STATUSES.items())}
    ranges = {f"{codes[0]:04X}–{codes[-1]:04X}": (outcome, words) for codes, outcome, words in STATUS_RANGES}
    return {**single, **ranges, "any other": judge_status(_IN_NO_TABLE)}


def _judged(answers: Mapping[str, tuple[Outcome, str]], *, who: str) -> str:
    rows = ((code, f"the {who} {words}", _WHAT_HAPPENS[outcome]) for code, (outcome, words) in answers.items())
    return table(("answer", "meaning", "what happens"), rows)
