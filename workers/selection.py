"""Which image of a study the model may read: one frontal radiograph of the chest, or a named reason why not."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import DigitalXRayImageStorageForProcessing, SecondaryCaptureImageStorage

from dicom_node import states
from dicom_node.models import Instance
from dicom_node.product import MANUFACTURER
from dicom_node.receive.catalog import RADIOGRAPH_SOP_CLASSES
from dicom_node.receive.coded_words import CHEST_WORDS, RADIOGRAPHY_MODALITIES

# (0018,5101), best first. Only these: "AP LLD" and the like are decubitus films, which the model was not meant for.
FRONTAL_VIEWS = ("PA", "AP", "FRONTAL")

# Words of PS3.16 Annex L, PS3.3 C.8.1.2, C.8.11.7 and C.7.3.1.1.1 that a reason may quote. A header can hold any text,
# a patient's name too, so other words are not repeated.
_QUOTABLE = frozenset(
    {
        "ABDOMEN", "ANKLE", "ARM", "BREAST", "BREASTS", "CERVICALSPINE", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW",
        "EXTREMITY", "EYE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HEART", "HIP", "HUMERUS", "JAW",
        "KNEE", "LEG", "LSPINE", "LUMBARSPINE", "MANDIBLE", "MAXILLA", "NECK", "PELVIS", "RIB", "RIBS", "SCAPULA",
        "SHOULDER", "SKULL", "SPINE", "SSPINE", "STERNUM", "TOE", "TSPINE", "THORACICSPINE", "TIBIA", "WHOLEBODY",
        "WRIST", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL", "LAT", "LPO", "RPO", "LAO", "RAO", "MLO", "CC",
        "ML", "LM", "CT", "MR", "MG", "US", "NM", "PT", "SC", "OT", "RF", "XA", "IO", "PX", "SR", "PR", "KO", "SEG",
        "DOC",
    }
)  # fmt: skip


class SkipReason(StrEnum):
    """Why a study gets no draft, in the words of the timeline."""

    NO_OBJECT = "the study holds no object"
    TWO_PATIENTS = "objects of one study name different patients"
    TWO_VERSIONS = "an image came twice with different content under one SOP Instance UID"
    OWN_OUTPUT = "only results of this node"
    PRIOR = "a prior, for comparison only"
    OTHER_OBJECT = "no radiograph (CR, DX or secondary capture)"
    NO_PIXELS = "no pixel data"
    OTHER_MODALITY = "not a modality of projection radiography"
    NOT_CHEST = "not a radiograph of the chest"
    BODY_PART_NOT_STATED = "body part not stated"
    NOT_FRONTAL = "no frontal view"
    VIEW_NOT_STATED = "view not stated"
    UNCHANGED = states.UNCHANGED
    REMOVED = "the image to be read was removed when its time was up; it can be sent again"
    BURNED_IN = "text is burned into the image"
    TURNED = "stored mirrored or turned, so that its sides would be read wrongly"
    NEGATIVE = "stored as a negative of what is shown, so that dark would be read for bright"


CONTRADICTIONS = frozenset({SkipReason.TWO_PATIENTS, SkipReason.TWO_VERSIONS})


@dataclass(frozen=True)
class Candidate:
    """An instance with what its row does not say: its series' modality, and what the site vouches for its sender."""

    instance: Instance
    modality: str  # (0008,0060)
    assume_chest: bool = False
    assume_frontal: bool = False


@dataclass(frozen=True)
class Chosen:
    instance: Instance


@dataclass(frozen=True)
class Skipped:
    reason: SkipReason
    detail: str = ""

    @property
    def words(self) -> str:
        """A sentence for the timeline, free of patient data."""
        return f"{self.reason} ({self.detail})" if self.detail else str(self.reason)


def choose_frontal(candidates: Sequence[Candidate]) -> Chosen | Skipped:
    """Choose the one image to draft from, the same one whatever the order of the candidates.

    First an image for presentation, then secondary capture, then FOR PROCESSING (raw images are unlike those the model
    learned from); among these PA, then AP, then a view only vouched for; then the last received (a repeat follows what
    it replaces); then by SOP Instance UID. A contradiction within the study skips all of it; otherwise the reason is
    that of the nearest miss.
    """
    if not candidates:
        return Skipped(SkipReason.NO_OBJECT)
    if len({each.instance.patient_key for each in candidates}) > 1:
        return Skipped(SkipReason.TWO_PATIENTS)
    if _has_two_versions(
        each.instance for each in candidates if not _is_other_object(each) and not _is_own_output(each)
    ):
        return Skipped(SkipReason.TWO_VERSIONS)
    suitable = [each.instance for each in candidates if _first_fault(each) == len(_FAULTS)]
    return Chosen(min(suitable, key=_preference)) if suitable else _nearest_miss(candidates)


def _has_two_versions(instances: Iterable[Instance]) -> bool:
    versions = {(each.sop_instance_uid, each.variant) for each in instances}
    return len({uid for uid, _ in versions}) < len(versions)


def _preference(instance: Instance) -> tuple[int, int, float, str]:
    """Sorts the better image first."""
    view = FRONTAL_VIEWS.index(instance.view) if instance.view in FRONTAL_VIEWS else len(FRONTAL_VIEWS)
    return _distance_from_original(instance), view, -instance.received_at.timestamp(), instance.sop_instance_uid


def _distance_from_original(instance: Instance) -> int:
    if (
        instance.sop_class_uid == DigitalXRayImageStorageForProcessing
        or instance.presentation_intent == "FOR PROCESSING"
    ):
        return 2
    return 1 if instance.sop_class_uid == SecondaryCaptureImageStorage else 0


def _nearest_miss(candidates: Sequence[Candidate]) -> Skipped:
    furthest = max(_first_fault(each) for each in candidates)
    reason = _FAULTS[furthest][0]
    details = {_detail(each, reason) for each in candidates if _first_fault(each) == furthest}
    return Skipped(reason, ", ".join(sorted(details - {""})))


def _first_fault(candidate: Candidate) -> int:
    """How far a candidate comes through `_FAULTS`; all the way if it may be read."""
    return next((index for index, (_, has_fault) in enumerate(_FAULTS) if has_fault(candidate)), len(_FAULTS))


def _detail(candidate: Candidate, reason: SkipReason) -> str:
    instance = candidate.instance
    if reason == SkipReason.NOT_CHEST:
        return f"body part {_quoted(instance.body_part)}"
    if reason == SkipReason.NOT_FRONTAL:
        return f"view {_quoted(instance.view)}"
    if reason == SkipReason.OTHER_MODALITY:
        return f"modality {_quoted(candidate.modality)}"
    return ""


def _quoted(word: str) -> str:
    return word if word in _QUOTABLE else "of another name" if word else "not stated"


def _is_own_output(candidate: Candidate) -> bool:
    return candidate.instance.manufacturer.casefold() == MANUFACTURER


def _is_other_object(candidate: Candidate) -> bool:
    return candidate.instance.sop_class_uid not in RADIOGRAPH_SOP_CLASSES


def _has_no_pixels(candidate: Candidate) -> bool:
    return not candidate.instance.has_pixels


def _is_other_modality(candidate: Candidate) -> bool:
    return candidate.modality not in RADIOGRAPHY_MODALITIES


def _is_not_chest(candidate: Candidate) -> bool:
    return bool(candidate.instance.body_part) and candidate.instance.body_part not in CHEST_WORDS


def _states_no_body_part(candidate: Candidate) -> bool:
    return not candidate.instance.body_part and not candidate.assume_chest


def _is_not_frontal(candidate: Candidate) -> bool:
    return bool(candidate.instance.view) and candidate.instance.view not in FRONTAL_VIEWS


def _states_no_view(candidate: Candidate) -> bool:
    return not candidate.instance.view and not candidate.assume_frontal


def _is_burned_in(candidate: Candidate) -> bool:
    return candidate.instance.burned_in_annotation == "YES"


# From the furthest miss to the nearest: a candidate's reason is the first that applies.
_FAULTS: tuple[tuple[SkipReason, Callable[[Candidate], bool]], ...] = (
    (SkipReason.OWN_OUTPUT, _is_own_output),
    (SkipReason.OTHER_OBJECT, _is_other_object),
    (SkipReason.NO_PIXELS, _has_no_pixels),
    (SkipReason.OTHER_MODALITY, _is_other_modality),
    (SkipReason.NOT_CHEST, _is_not_chest),
    (SkipReason.BODY_PART_NOT_STATED, _states_no_body_part),
    (SkipReason.NOT_FRONTAL, _is_not_frontal),
    (SkipReason.VIEW_NOT_STATED, _states_no_view),
    (SkipReason.BURNED_IN, _is_burned_in),
)
