"""What a phantom film shows: its view, its findings and the question asked. Drawing and words both start from here."""

import random
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations


class Kind(StrEnum):
    """What can be seen on a film beside a healthy chest."""

    EFFUSION = "effusion"
    PNEUMOTHORAX = "pneumothorax"
    CONSOLIDATION = "consolidation"
    NODULE = "nodule"
    CARDIOMEGALY = "cardiomegaly"
    FRACTURE = "fracture"
    PACEMAKER = "pacemaker"
    TUBE = "tube"
    DEXTROCARDIA = "dextrocardia"


class Side(StrEnum):
    """The patient's side as a viewer takes it: the left is at the viewer's right, whatever the marker says."""

    RIGHT = "right"
    LEFT = "left"

    @property
    def opposite(self) -> "Side":
        return Side.LEFT if self is Side.RIGHT else Side.RIGHT


class Size(StrEnum):
    """Of an effusion or pneumothorax; a small nodule is under 3 cm, a large one is called a mass."""

    SMALL = "small"
    MODERATE = "moderate"
    LARGE = "large"


class Zone(StrEnum):
    """A third of the lung, by height."""

    UPPER = "upper"
    MID = "mid"
    LOWER = "lower"


class View(StrEnum):
    PA = "PA"
    AP = "AP"
    LATERAL = "LATERAL"


SIDELESS = frozenset({Kind.CARDIOMEGALY, Kind.TUBE, Kind.DEXTROCARDIA})
SIZES = {
    Kind.EFFUSION: (Size.SMALL, Size.MODERATE, Size.LARGE),
    Kind.PNEUMOTHORAX: (Size.SMALL, Size.MODERATE, Size.LARGE),
    Kind.NODULE: (Size.SMALL, Size.LARGE),
}
ZONED = frozenset({Kind.CONSOLIDATION, Kind.NODULE})
INDICATIONS: tuple[tuple[str, Kind | None], ...] = (
    ("Chest pain", None),
    ("Shortness of breath", None),
    ("Preoperative evaluation", None),
    ("Fall, rule out rib fracture", Kind.FRACTURE),
    ("Chest trauma, evaluate for fracture", Kind.FRACTURE),
    ("Line placement, rule out pneumothorax", Kind.PNEUMOTHORAX),
    ("Sudden chest pain, evaluate for pneumothorax", Kind.PNEUMOTHORAX),
    ("Fever and cough, evaluate for pneumonia", Kind.CONSOLIDATION),
    ("Elevated white count, rule out pneumonia", Kind.CONSOLIDATION),
    ("Decreased breath sounds, evaluate for effusion", Kind.EFFUSION),
    ("Respiratory failure, evaluate tube position", Kind.TUBE),
    ("Weight loss, evaluate for lung nodule", Kind.NODULE),
)
_HIDDEN = "{} and {} hide each other, expected findings that are seen together"


@dataclass(frozen=True)
class Finding:
    """One thing to see. Raises ValueError unless it has a side, size and zone exactly where its kind has them."""

    kind: Kind
    side: Side | None = None
    size: Size | None = None
    zone: Zone | None = None

    def __post_init__(self) -> None:
        expected = (self.kind not in SIDELESS, self.kind in SIZES, self.kind in ZONED)
        if (self.side is not None, self.size is not None, self.zone is not None) != expected:
            raise ValueError(f"{self}, expected (side, size, zone) = {expected}")

    @property
    def label(self) -> str:
        """As in records and on the command line: "left effusion", "cardiomegaly"."""
        return f"{self.side} {self.kind}" if self.side else str(self.kind)

    @property
    def description(self) -> str:
        """All there is to say: "small left effusion", "right upper consolidation"."""
        return " ".join(word for word in (self.size, self.side, self.zone, self.kind) if word)


@dataclass(frozen=True)
class Case:
    """One film. Raises ValueError for findings that would hide each other or that its view cannot show.

    is_mirrored: the lead marker is mirrored together with the chest, as on a film turned over; only in dextrocardia.
    """

    seed: int
    view: View = View.PA
    findings: tuple[Finding, ...] = ()
    indication: str | None = None
    is_mirrored: bool = False

    def __post_init__(self) -> None:
        for one, other in combinations(self.findings, 2):
            if _hide_each_other(one, other):
                raise ValueError(_HIDDEN.format(one.label, other.label))
        if self.view is View.LATERAL and self.kinds - {Kind.EFFUSION}:
            raise ValueError(f"{', '.join(sorted(self.kinds))} on a lateral film, expected effusion or nothing")
        if self.is_mirrored and Kind.DEXTROCARDIA not in self.kinds:
            raise ValueError("a mirrored film without dextrocardia, expected both")

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(finding.kind for finding in self.findings)

    def turned_over(self) -> "Case":
        """What the film shows when it hangs the wrong way round. Raises ValueError if the heart is on the right."""
        if Kind.DEXTROCARDIA in self.kinds:
            raise ValueError(f"case {self.seed} has dextrocardia, expected a heart on the left")
        swapped = (replace(each, side=each.side.opposite) if each.side else each for each in self.findings)
        return replace(self, findings=(*swapped, Finding(Kind.DEXTROCARDIA)), is_mirrored=True)


def draw_case(seed: int) -> Case:
    """A frontal film by chance: mostly none or one finding, up to three, and in an eighth the chest is mirrored."""
    rng = random.Random(seed)
    findings = _draw_findings(rng)
    if rng.random() < 0.12:
        findings = (*findings, Finding(Kind.DEXTROCARDIA))
    has_dextrocardia = findings[-1:] == (Finding(Kind.DEXTROCARDIA),)
    return Case(
        seed=seed,
        view=View.AP if rng.random() < 0.35 else View.PA,
        findings=findings,
        indication=_draw_indication(rng, findings),
        is_mirrored=has_dextrocardia and rng.random() < 0.5,
    )


def draw_finding(rng: random.Random, kind: Kind, side: Side | None = None) -> Finding:
    """A finding of a kind with all else by chance; the side too, if the kind has one and none is given."""
    return Finding(
        kind,
        side=None if kind in SIDELESS else side or rng.choice(list(Side)),
        size=rng.choice(SIZES[kind]) if kind in SIZES else None,
        zone=rng.choice(list(Zone)) if kind in ZONED else None,
    )


def _draw_findings(rng: random.Random) -> tuple[Finding, ...]:
    count = rng.choices(range(4), weights=(25, 40, 25, 10))[0]
    kinds = [kind for kind in Kind if kind is not Kind.DEXTROCARDIA]
    while True:
        findings = tuple(draw_finding(rng, rng.choice(kinds)) for _ in range(count))
        if count > 1 and rng.random() < 0.12:
            both = [draw_finding(rng, Kind.EFFUSION, side) for side in Side]
            findings = (*both, *findings[2:])
        if not any(_hide_each_other(one, other) for one, other in combinations(findings, 2)):
            return findings


def _draw_indication(rng: random.Random, findings: tuple[Finding, ...]) -> str | None:
    """None for half; else by chance, but every other one asks for what is there, so that both answers are common."""
    if rng.random() < 0.5:
        return None
    present = [text for text, asked in INDICATIONS if asked in {finding.kind for finding in findings}]
    if present and rng.random() < 0.5:
        return rng.choice(present)
    return rng.choice(INDICATIONS)[0]


def _hide_each_other(one: Finding, other: Finding) -> bool:
    """Whether two findings cannot both be read with certainty from one film."""
    kinds = Counter([one.kind, other.kind])
    if one.side and other.side and one.side is not other.side:
        return max(kinds.values()) > 1 and (one.kind is not Kind.EFFUSION or one.size is other.size is Size.LARGE)
    if max(kinds.values()) > 1:
        return True
    return _covers(one, other) or _covers(other, one)


def _covers(above: Finding, below: Finding) -> bool:
    """Whether the first hides the second, both on one side or one of them in the middle."""
    lesions = {Kind.CONSOLIDATION, Kind.NODULE, Kind.FRACTURE}
    match above.kind:
        case Kind.EFFUSION if below.kind is Kind.CARDIOMEGALY:
            return above.size is not Size.SMALL
        case Kind.EFFUSION if above.size is Size.LARGE:
            return below.kind in lesions and below.zone is not Zone.UPPER
        case Kind.EFFUSION:
            return below.kind is Kind.PNEUMOTHORAX or below.zone is Zone.LOWER
        case Kind.PNEUMOTHORAX:
            return below.kind in lesions - {Kind.FRACTURE} or below.kind is Kind.PACEMAKER
        case Kind.PACEMAKER:
            return below.zone is Zone.UPPER
        case Kind.CARDIOMEGALY:
            return below.zone is Zone.LOWER or below.kind is Kind.FRACTURE
        case _:
            return above.kind in lesions and below.kind in lesions
