"""The soft tissue of a frontal chest: who the person is, where the air is, and the vessels in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.phantom.case import Case, Kind, Side, View
from workers.phantom.plate import MIDLINE, Curve, Line, Plate, Point, Shadow, disc, smooth, stream

# fmt: off
_BODY = [
    (405, -60), (398, 20), (352, 66), (200, 88), (80, 112), (0, 152), (-60, 260), (-60, 430), (22, 520), (56, 640),
    (50, 800), (42, 980), (42, 1100), (300, 1140), (700, 1140), (958, 1100), (958, 980), (950, 800), (944, 640),
    (978, 520), (1060, 430), (1060, 260), (1000, 152), (920, 112), (800, 88), (648, 66), (602, 20), (595, -60),
]
_RIGHT_LUNG = [
    (385, 112), (305, 136), (234, 200), (190, 305), (162, 440), (142, 580), (127, 690), (116, 772), (117, 780),
    (156, 733), (225, 694), (300, 676), (375, 680), (450, 708), (500, 690), (495, 400), (482, 230), (445, 132),
]
_LEFT_LUNG = [
    (615, 112), (695, 136), (766, 200), (810, 305), (838, 440), (858, 580), (873, 690), (884, 790), (883, 798),
    (848, 757), (785, 725), (715, 712), (645, 717), (560, 744), (500, 730), (505, 400), (518, 230), (555, 132),
]
_VESSELS_AND_HEART = [
    (452, 60), (450, 180), (441, 290), (435, 400), (424, 470), (402, 530), (388, 600), (396, 670), (425, 725),
    (440, 800), (690, 800), (738, 742), (741, 690), (716, 620), (672, 545), (622, 468), (594, 412), (586, 365),
    (579, 338), (594, 312), (592, 275), (570, 246), (555, 215), (550, 60),
]
_LIVER_AND_SPLEEN = [
    (60, 790), (160, 745), (300, 690), (450, 720), (600, 745), (720, 725), (840, 765), (940, 810),
    (960, 1080), (40, 1080),
]
_GASTRIC_BUBBLE = [(632, 800), (640, 772), (680, 750), (735, 750), (778, 772), (790, 800), (780, 814), (644, 814)]
TRACHEA = [(500, -20), (499, 100), (497, 200), (491, 285), (489, 330)]
_RIGHT_BRONCHUS = [(489, 325), (462, 362), (440, 395)]
_LEFT_BRONCHUS = [(489, 325), (530, 362), (568, 385)]
# fmt: on
LUNGS: dict[Side | None, Sequence[Point]] = {Side.RIGHT: _RIGHT_LUNG, Side.LEFT: _LEFT_LUNG}
_WALL = (np.array(_RIGHT_LUNG[:8])[:, 1], MIDLINE + 6 - np.array(_RIGHT_LUNG[:8])[:, 0])  # height, distance
SIGN: dict[Side | None, int] = {Side.RIGHT: -1, Side.LEFT: 1}  # of x from the midline


@dataclass(frozen=True)
class Build:
    """What differs from one person to the next."""

    width: float  # of the chest, 1 = as drawn
    heart: float  # of the heart's reach from the midline, 1 = as drawn
    descent: float  # of the diaphragm, in units
    fat: float  # added shadow of the soft tissue
    is_ap: bool  # lying, arms down: shoulder blades over the lungs, clavicles high

    @property
    def cardiothoracic_ratio(self) -> float:
        """The heart's greatest width over the chest's inner one."""
        heart, lungs = np.array(_VESSELS_AND_HEART), np.array(_RIGHT_LUNG + _LEFT_LUNG)
        return float(self.heart * np.ptp(heart[:, 0]) / np.ptp(lungs[:, 0]))


@dataclass(frozen=True)
class Lungs:
    """What the beam meets inside the ribs, both (rows, columns) float32 from 0 to 1."""

    air: Shadow
    vessels: Shadow  # where vessels are seen


def draw_build(case: Case) -> Build:
    """An adult by chance, the heart clearly normal or clearly too large: no ratio is between 0.5 and 0.58."""
    rng = stream(case.seed, "build")
    is_ap = case.view is View.AP
    heart = rng.uniform(1.33, 1.46) if Kind.CARDIOMEGALY in case.kinds else rng.uniform(0.86, 1.0)
    return Build(
        width=rng.uniform(0.94, 1.02),
        heart=heart * (1.04 if is_ap else 1.0),
        descent=rng.uniform(-25, 45) - (20 if is_ap else 0),
        fat=rng.uniform(0, 0.06),
        is_ap=is_ap,
    )


def shade_body(plate: Plate, build: Build) -> Shadow:
    """How much of the beam's way is body, 0 to 1: less towards the skin."""
    outline = place(_BODY, build)
    shadow: Shadow = plate.fill(outline, blur=3) * (0.25 + 0.75 * plate.haze(outline, blur=45))
    return shadow


def shade_soft(plate: Plate, build: Build, air: Shadow) -> Shadow:
    """Heart, liver and spleen, less the air around them."""
    heart = plate.haze(_heart(build), blur=26)
    liver = plate.haze(place(_LIVER_AND_SPLEEN, build), blur=20)
    shadow: Shadow = 0.62 + build.fat + 0.2 * liver + 0.2 * heart - 0.54 * air - _airways(plate, build)
    return shadow


def inflate(plate: Plate, build: Build) -> Lungs:
    """Where the beam meets air: sharp at the borders, deepest in the middle, thin behind the heart."""
    outlines = [place(outline, build) for outline in LUNGS.values()]
    sharp, depth = plate.fill(*outlines, blur=2.2), plate.haze(*outlines, blur=30)
    air: Shadow = sharp * (0.5 + 0.5 * depth) * (1 - 0.9 * plate.fill(_heart(build), blur=3.5))
    return Lungs(air, vessels=air)


def shade_vessels(plate: Plate, build: Build, seed: int) -> Shadow:
    """Two trees that leave the hila and thin out towards the wall; seen only against air."""
    rng = stream(seed, "vessels")
    twigs: list[Line] = []
    for side, x, y in ((-1, 62.0, 428.0), (1, 80.0, 405.0)):
        angles = np.linspace(-1.3, 1.45, 10) + rng.normal(0, 0.12, 10)
        roots = np.column_stack([MIDLINE + side * (x * build.width + rng.uniform(-18, 18, 10)), y + 38 * angles])
        outwards = (np.pi if side < 0 else 0.0) + side * angles
        twigs += _grow(roots, outwards, rng.uniform(4, 8.5, 10), rng)
    hila = [disc(MIDLINE - 80 * build.width, 430, 34, 68), disc(MIDLINE + 98 * build.width, 405, 34, 56)]
    shadow: Shadow = 0.3 * plate.paint([], twigs, blur=2.2) + 0.4 * plate.haze(*hila, blur=17)
    return shadow


def place(points: Sequence[Point], build: Build, *, reach: float = 1.0, closed: bool = True) -> Curve:
    """Fit an outline to a person; the diaphragm's descent fades out from the dome to the apex."""
    curve = smooth(points, closed=closed)
    low = np.clip((curve[:, 1] - 250) / 450, 0, 1)
    x = MIDLINE + (curve[:, 0] - MIDLINE) * build.width * (1 + (reach - 1) * low)
    return np.column_stack([x, curve[:, 1] + build.descent * low])


def wall(y: float) -> float:
    """The chest wall's distance from the midline at a height, as drawn."""
    return float(np.interp(y, *_WALL))


def _heart(build: Build) -> Curve:
    return place(_VESSELS_AND_HEART, build, reach=build.heart)


def _airways(plate: Plate, build: Build) -> Shadow:
    trachea, right, left = (place(curve, build, closed=False) for curve in (TRACHEA, _RIGHT_BRONCHUS, _LEFT_BRONCHUS))
    bubble = plate.fill(place(_GASTRIC_BUBBLE, build), blur=3.5)
    tree = plate.paint([], [(trachea, 34, 255), (right, 22, 190), (left, 20, 190)], blur=4)
    shadow: Shadow = 0.2 * tree + 0.34 * bubble
    return shadow


def _grow(roots: Curve, angles: Curve, widths: Curve, rng: np.random.Generator) -> list[Line]:
    """Branches and, while they are wide enough to be seen, the two that each divides into."""
    if not len(roots):
        return []
    half = (8 + 3 * widths * rng.uniform(0.6, 1.2, len(roots)))[:, None]
    bends = angles + rng.normal(0, 0.3, len(roots))
    middles = roots + half * np.column_stack([np.cos(angles), np.sin(angles)])
    tips = middles + half * np.column_stack([np.cos(bends), np.sin(bends)])
    lines = np.stack([roots, middles, tips], axis=1)
    twigs: list[Line] = [(line, width, round(75 + 10 * width)) for line, width in zip(lines, widths, strict=True)]
    parents = np.repeat(np.flatnonzero(widths > 2.3), 2)
    turns = rng.uniform([[0.0, -0.6]], [[0.4, -0.1]], (len(parents) // 2, 2)).ravel()
    shares = rng.uniform([[0.72, 0.5]], [[0.86, 0.76]], (len(parents) // 2, 2)).ravel()
    return twigs + _grow(tips[parents], bends[parents] + turns, widths[parents] * shares, rng)
