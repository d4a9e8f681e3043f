"""What a rule names, asked of its source. What the source does not say of a study is never assumed."""

import re
from collections.abc import Iterable
from datetime import date, timedelta

from dicom_node.peers import PullRule
from dicom_node.pull.query import Answer, Ask, FoundStudy, found_study, is_study
from dicom_node.wildcards import is_like

_DATE = re.compile(r"[0-9]{8}")


def studies_by_rule(ask: Ask, rule: PullRule, today: date) -> list[FoundStudy]:
    """The studies that match the rule. today: at the site, whose time zone Study Dates are in."""
    oldest = f"{today - timedelta(days=rule.days):%Y%m%d}"
    found: dict[str, FoundStudy] = {}
    for modality in rule.modalities:  # several values in one query are no standard (PS3.4 C.2.2.2)
        for answer in ask("STUDY", _keys(rule, modality, oldest)):
            is_new = is_study(answer) and answer["StudyInstanceUID"] not in found
            if is_new and _matches(answer, rule, oldest) and _has_modality(ask, answer, rule.modalities):
                found[answer["StudyInstanceUID"]] = found_study(ask, answer)
    return list(found.values())


def _keys(rule: PullRule, modality: str, oldest: str) -> Answer:
    return {
        "StudyInstanceUID": "",
        "NumberOfStudyRelatedInstances": "",
        **rule.match,
        "ModalitiesInStudy": modality,
        "StudyDate": f"{oldest}-",  # PS3.4 C.2.2.2.5: on that day or later
    }


def _matches(answer: Answer, rule: PullRule, oldest: str) -> bool:
    is_recent = bool(_DATE.fullmatch(answer["StudyDate"])) and answer["StudyDate"] >= oldest
    return is_recent and all(_is_any_like(answer[keyword], value) for keyword, value in rule.match.items())


def _is_any_like(values: str, wanted: str) -> bool:
    return any(is_like(value, wanted) for value in values.split("\\"))


def _has_modality(ask: Ask, answer: Answer, modalities: Iterable[str]) -> bool:
    """Asked of its series where the source does not know Modalities in Study, which it need not (PS3.4 C.6.2.1.2)."""
    stated = set(answer["ModalitiesInStudy"].split("\\"))
    if stated == {""}:
        keys = {"StudyInstanceUID": answer["StudyInstanceUID"], "SeriesInstanceUID": "", "Modality": ""}
        stated = {each["Modality"] for each in ask("SERIES", keys)}
    return not stated.isdisjoint(modalities)
