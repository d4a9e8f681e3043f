"""The findings section a radiologist would dictate for a case, in a small closed vocabulary.

The question asked is answered first; then devices, heart, lungs, pleura and bones. Sizes are words, never centimetres.
"""

import operator
import random
import re
from collections.abc import Callable, Iterator, Sequence

from workers.phantom.case import Case, Finding, Kind, Size, View

_ASKED = {
    "fracture": Kind.FRACTURE,
    "pneumothorax": Kind.PNEUMOTHORAX,
    "pneumonia": Kind.CONSOLIDATION,
    "consolidation": Kind.CONSOLIDATION,
    "effusion": Kind.EFFUSION,
    "tube": Kind.TUBE,
    "nodule": Kind.NODULE,
}
# One for each manner of speaking; where they can, a manner's words for yes and no begin alike.
_Wordings = tuple[str, str, str]
_PRESENT: dict[Kind, _Wordings] = {
    Kind.EFFUSION: (
        "There is a {size} {side} pleural effusion.",
        "A {size} {side} pleural effusion is present.",
        "{size} {side} pleural effusion blunts the costophrenic angle.",
    ),
    Kind.PNEUMOTHORAX: (
        "There is a {size} {side} pneumothorax.",
        "A {size} {side} pneumothorax is present with a visible pleural line.",
        "{size} {side} pneumothorax with partial collapse of the lung.",
    ),
    Kind.CONSOLIDATION: (
        "There is consolidation in the {side} {zone} lung zone, concerning for pneumonia.",
        "Consolidation with air bronchograms in the {side} {zone} lung is compatible with pneumonia.",
        "{side} {zone} lung consolidation is consistent with pneumonia.",
    ),
    Kind.NODULE: (
        "There is a round {size} in the {side} {zone} lung zone.",
        "A well defined {size} projects over the {side} {zone} lung.",
        "{side} {zone} lung {size} is seen, and further evaluation with CT is suggested.",
    ),
    Kind.CARDIOMEGALY: (
        "The heart is enlarged.",
        "The cardiac silhouette is enlarged.",
        "There is cardiomegaly.",
    ),
    Kind.FRACTURE: (
        "There are displaced {side} rib fractures.",
        "Displaced fractures of several {side} posterior ribs are present.",
        "Several {side} ribs show displaced fractures.",
    ),
    Kind.PACEMAKER: (
        "There is a {side} pacemaker with its leads in the expected position.",
        "A {side} chest wall pacemaker is in place with leads in the heart.",
        "{side} pacemaker is noted.",
    ),
    Kind.TUBE: (
        "There is an endotracheal tube that ends above the carina.",
        "An endotracheal tube tip is in standard position above the carina.",
        "Endotracheal tube is in appropriate position.",
    ),
    Kind.DEXTROCARDIA: (
        "The heart and stomach bubble lie on the right, as in dextrocardia or a mirrored film.",
        "The cardiac apex points to the right, consistent with dextrocardia or a mirrored film.",
        "There is dextrocardia, or the film is mirrored.",
    ),
}
_BILATERAL: _Wordings = (
    "There are {size} bilateral pleural effusions.",
    "{size} bilateral pleural effusions are present.",
    "{size} bilateral pleural effusions blunt the costophrenic angles.",
)
_UNEQUAL = "There are bilateral pleural effusions, {size} on the {side} and {other_size} on the {other_side}."
_ABSENT: dict[Kind, _Wordings] = {
    Kind.EFFUSION: ("There is no pleural effusion.", "No pleural effusion is seen.", "No pleural effusion."),
    Kind.PNEUMOTHORAX: ("There is no pneumothorax.", "No pneumothorax is seen.", "No pneumothorax."),
    Kind.CONSOLIDATION: ("There is no focal consolidation.", "No consolidation is seen.", "No focal consolidation."),
}
_NORMAL_SIZE: _Wordings = (
    "The heart is normal in size.",
    "The cardiac silhouette is normal in size.",
    "Heart size is normal.",
)
_IN_CHEST = {Kind.NODULE, Kind.EFFUSION, Kind.PNEUMOTHORAX}  # with one of these the lungs are not just "clear"
_ANSWERS: dict[Kind, _Wordings] = {
    Kind.EFFUSION: (
        "There is no evidence of pleural effusion.",
        "No pleural effusion is seen.",
        "No pleural effusion.",
    ),
    Kind.PNEUMOTHORAX: ("There is no evidence of pneumothorax.", "No pneumothorax is seen.", "No pneumothorax."),
    Kind.CONSOLIDATION: (
        "There is no consolidation to suggest pneumonia.",
        "No pneumonia is seen.",
        "No evidence of pneumonia.",
    ),
    Kind.NODULE: ("There is no evidence of a lung nodule.", "No pulmonary nodule is seen.", "No pulmonary nodule."),
    Kind.FRACTURE: ("There is no evidence of rib fracture.", "No rib fracture is seen.", "No rib fracture."),
    Kind.TUBE: ("There is no endotracheal tube.", "No endotracheal tube is seen.", "No endotracheal tube."),
}
_CLEAR: _Wordings = ("The lungs are clear.", "The lungs are well expanded and clear.", "Both lungs are clear.")
_NEITHER: _Wordings = (
    "There is no pleural effusion or pneumothorax.",
    "No pleural effusion or pneumothorax is seen.",
    "No pleural effusion or pneumothorax.",
)
_INTACT: _Wordings = (
    "The bones are intact.",
    "No acute osseous abnormality is seen.",
    "Visualized osseous structures are unremarkable.",
)
_ORDER = (
    Kind.TUBE, Kind.PACEMAKER, Kind.DEXTROCARDIA, Kind.CARDIOMEGALY, Kind.CONSOLIDATION, Kind.NODULE, Kind.EFFUSION,
    Kind.PNEUMOTHORAX, Kind.FRACTURE,
)  # fmt: skip

_Choose = Callable[[_Wordings], str]


def write_findings(case: Case) -> str:
    """Four to eight sentences that name every finding with its side and deny the important ones that are absent.

    Equal cases give equal words. A report keeps to one manner of speaking, as its radiologist does: after the first
    sentence a model need not guess wordings any more, only findings.
    Raises ValueError for a lateral film, of which no report is drafted.
    """
    if case.view is View.LATERAL:
        raise ValueError(f"case {case.seed} is a lateral film, expected a frontal one")
    manner = random.Random(f"words {case.seed}").randrange(3)
    choose: _Choose = operator.itemgetter(manner)
    asked = _find_asked(case.indication)
    first = [] if asked is None else [_answer(asked, case, choose)]
    order = [kind for kind in _ORDER if kind is not asked]
    said = [*first, *_describe(order, asked, case, choose)]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in said)


def _find_asked(indication: str | None) -> Kind | None:
    """The kind the first known word of the question is about."""
    words = re.findall("[a-z]+", (indication or "").lower())
    return next((_ASKED[word] for word in words if word in _ASKED), None)


def _answer(asked: Kind, case: Case, choose: _Choose) -> str:
    return _affirm(asked, case, choose) if asked in case.kinds else choose(_ANSWERS[asked])


def _describe(order: Sequence[Kind], asked: Kind | None, case: Case, choose: _Choose) -> Iterator[str]:
    """What has not been answered yet, organ by organ."""
    is_dry = not case.kinds & {Kind.EFFUSION, Kind.PNEUMOTHORAX} and asked not in (Kind.EFFUSION, Kind.PNEUMOTHORAX)
    for kind in order:
        if kind in case.kinds:
            yield _affirm(kind, case, choose)
        elif kind is Kind.CARDIOMEGALY:
            yield choose(_NORMAL_SIZE)
        elif kind is Kind.CONSOLIDATION:
            yield choose(_CLEAR if case.kinds.isdisjoint(_IN_CHEST) else _ABSENT[kind])
        elif kind in (Kind.EFFUSION, Kind.PNEUMOTHORAX) and not is_dry:
            yield choose(_ABSENT[kind])
        elif kind is Kind.EFFUSION:
            yield choose(_NEITHER)
        elif kind is Kind.FRACTURE:
            yield choose(_INTACT)


def _affirm(kind: Kind, case: Case, choose: _Choose) -> str:
    """One sentence for all findings of a kind."""
    found = sorted((finding for finding in case.findings if finding.kind is kind), key=lambda one: str(one.side))
    sizes = {finding.size for finding in found}
    if len(found) == 1:
        return choose(_PRESENT[kind]).format(side=found[0].side, zone=found[0].zone, size=_name_size(found[0]))
    if len(sizes) == 1:
        return choose(_BILATERAL).format(size=found[0].size)
    left, right = found
    return _UNEQUAL.format(size=right.size, side=right.side, other_size=left.size, other_side=left.side)


def _name_size(finding: Finding) -> str:
    """3 cm divide a nodule from a mass (Fleischner Society glossary)."""
    if finding.kind is Kind.NODULE:
        return "mass" if finding.size is Size.LARGE else "nodule"
    return str(finding.size)
