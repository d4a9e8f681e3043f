"""Which findings are looked for, by which words, and how they are coded.

CheXpert's 14 categories (Irvin et al. 2019) as far as a code was found that says the same: none was for an enlarged
cardiomediastinum and for other pleural lesions; "Lung Lesion" is a nodule or a mass, and of "Support Devices" each is
named. "No Finding" is that no label says "present".
"""

import re
from dataclasses import dataclass

from pydicom.sr.coding import Code

from dicom_node.labels import Presence


@dataclass(frozen=True)
class Finding:
    """A code and the words that name it. Nothing is said of the side of a finding that has none."""

    code: Code
    words: re.Pattern[str]
    is_paired: bool = True


@dataclass(frozen=True)
class Paraphrase:
    """A sentence that says of findings whether they are there without their names."""

    findings: tuple[Finding, ...]
    presence: Presence
    words: re.Pattern[str]


def any_of(*words: str) -> re.Pattern[str]:
    """Whole words, in whatever case."""
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


CARDIOMEGALY = Finding(
    Code("8186001", "SCT", "Cardiomegaly"),
    any_of(
        "cardiomegaly", "cardiac enlargement", "enlargement of (?:the )?(?:heart|cardiac (?:silhouette|shadow))",
        "enlargement of (?:the )?cardio-?mediastinal silhouette",
    ),
    is_paired=False,
)  # fmt: skip
OPACITY = Finding(Code("112001", "DCM", "Opacity"), any_of("opacit(?:y|ies)", "opacifications?", "infiltrates?"))
NODULE = Finding(Code("27925004", "SCT", "Nodule"), any_of("(?<!thyroid )nodules?"))
MASS = Finding(Code("4147007", "SCT", "Mass"), any_of("mass(?:es)?(?![ -](?:effect|like))"))
EDEMA = Finding(
    Code("19242006", "SCT", "Pulmonary edema"), any_of("(?<!tissue )(?<!subcutaneous )(?<!body wall )o?edema")
)
CONSOLIDATION = Finding(Code("95436008", "SCT", "Lung consolidation"), any_of("consolidations?"))
PNEUMONIA = Finding(Code("233604007", "SCT", "Pneumonia"), any_of("pneumonias?", "bronchopneumonia"))
ATELECTASIS = Finding(Code("46621007", "SCT", "Atelectasis"), any_of("atelecta(?:sis|ses)"))
PNEUMOTHORAX = Finding(Code("36118008", "SCT", "Pneumothorax"), any_of("(?:hydro)?pneumothora(?:x|ces)"))
EFFUSION = Finding(
    Code("60046008", "SCT", "Pleural effusion"),
    any_of("(?<!pericardial )(?<!joint )effusions?", "pleural fluid"),
)
FRACTURE = Finding(Code("125605004", "SCT", "Fracture of bone"), any_of("fractures?"))
ENDOTRACHEAL_TUBE = Finding(
    Code("26412008", "SCT", "Endotracheal tube"), any_of("endotracheal tubes?", "ET tube", "ETT"), is_paired=False
)
FEEDING_TUBE = Finding(Code("25062003", "SCT", "Feeding tube"), any_of("feeding tubes?", "dobb?hoff"), is_paired=False)
CENTRAL_LINE = Finding(
    Code("112174", "DCM", "Central line"), any_of("central (?:venous )?(?:line|catheter)s?", "PICCs?(?: lines?)?")
)
CHEST_TUBE = Finding(Code("112173", "DCM", "Chest tube"), any_of("(?:chest|thoracostomy) tubes?"))
PORT = Finding(Code("112172", "DCM", "Portacath"), any_of("port-?a-?caths?", "chest port"))
PACEMAKER = Finding(Code("14106009", "SCT", "Cardiac pacemaker"), any_of("pacemakers?"))

DEVICES = (ENDOTRACHEAL_TUBE, FEEDING_TUBE, CENTRAL_LINE, CHEST_TUBE, PORT, PACEMAKER)
FINDINGS = (
    CARDIOMEGALY, OPACITY, NODULE, MASS, EDEMA, CONSOLIDATION, PNEUMONIA, ATELECTASIS, PNEUMOTHORAX, EFFUSION, FRACTURE,
    *DEVICES,
)  # fmt: skip

_HEART = r"(?:heart|cardiac silhouette|cardio-?mediastinal silhouette)(?: size)?"
_SEEMS = r"(?:is|are|appears?|remains?)"
_DEGREE = r"(?:(?:mild(?:ly)? to )?(?:mildly|moderately|severely|markedly|slightly|grossly|massively|top) )?"
# Radiologists call lungs with a little atelectasis or an old nodule clear.
_CLEARED = (OPACITY, CONSOLIDATION, EDEMA)
PARAPHRASES = (
    Paraphrase(
        (CARDIOMEGALY,),
        Presence.PRESENT,
        any_of(rf"{_HEART} {_SEEMS} {_DEGREE}enlarged", r"(?<!no )enlarged (?:heart|cardiac silhouette)"),
    ),
    Paraphrase(
        (CARDIOMEGALY,),
        Presence.UNDETERMINED,
        any_of(rf"{_HEART} {_SEEMS} borderline(?: enlarged)?", "borderline (?:cardiomegaly|heart size)"),
    ),
    Paraphrase(
        (CARDIOMEGALY,),
        Presence.ABSENT,
        any_of(
            rf"{_HEART} {_SEEMS} (?:of |within )?(?:the )?normal(?! (?:post|for))",
            rf"{_HEART} {_SEEMS} (?:not enlarged|unremarkable)",
            rf"normal {_HEART}",
        ),
    ),
    Paraphrase(
        _CLEARED,
        Presence.ABSENT,
        any_of(rf"(?:lungs|lung fields) {_SEEMS}(?: [\w-]+(?: \w+)? and)? (?:grossly )?clear(?! of)"),
    ),
    Paraphrase(
        (FRACTURE,), Presence.ABSENT, any_of(rf"(?:bones|(?:osseous|bony) structures) {_SEEMS} (?:grossly )?intact")
    ),
)
