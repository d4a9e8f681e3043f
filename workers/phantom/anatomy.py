"""A frontal chest as layers of shadow: outlines on a plane of 1000 × 1000 units, blurred and added.

x grows to the viewer's right, which is the patient's left; y grows downwards. A shadow is a fraction of full white.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Curve = NDArray[np.float64]
Shadow = NDArray[np.float32]
Point = tuple[float, float]
_Twig = tuple[Curve, float, int]  # line, width in units, grey

_PLANE = 1000.0
_MIDLINE = 500.0
_PATIENT_RIGHT, _PATIENT_LEFT = -1, 1

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
_TRACHEA = [(500, -20), (499, 100), (497, 200), (491, 285), (489, 330)]
_RIGHT_BRONCHUS = [(489, 325), (462, 362), (440, 395)]
_LEFT_BRONCHUS = [(489, 325), (530, 362), (568, 385)]
# from the midline outwards, for both sides
_CLAVICLE = [(30, 222), (78, 200), (150, 186), (235, 160), (310, 118), (378, 110)]
_SCAPULA = [
    (318, 128), (345, 175), (330, 262), (318, 360), (330, 440), (365, 350), (390, 262), (426, 190), (436, 140),
    (385, 118),
]
_HUMERUS = [(418, 150), (452, 128), (490, 150), (530, 250), (580, 420), (520, 420), (462, 262), (425, 205)]
_MARKER = [(880, 62), (880, 120), (916, 120), (916, 110), (891, 110), (891, 62)]
# fmt: on
_RIB_HALF_WIDTH = 11.5
_POSTERIOR_RIBS, _ANTERIOR_RIBS = 11, 5


@dataclass(frozen=True)
class Plate:
    """The plane of drawing, in pixels of the finished film."""

    size_px: tuple[int, int]  # rows, columns

    def haze(self, *outlines: Curve, blur: float) -> Shadow:
        """As fill, for a wide blur: drawn at a quarter of the size, which nobody sees and is much faster."""
        rows, columns = self.size_px
        small = Plate((max(1, rows // 4), max(1, columns // 4))).fill(*outlines, blur=blur)
        large = Image.fromarray(small).resize((columns, rows), Image.Resampling.BILINEAR)
        return np.asarray(large, dtype=np.float32)

    def fill(self, *outlines: Curve, blur: float) -> Shadow:
        """Closed outlines in white on black; blur is the sigma in units."""
        return self.paint([(outline, 255) for outline in outlines], [], blur=blur)

    def paint(self, fills: Iterable[tuple[Curve, int]], lines: Iterable[_Twig], *, blur: float) -> Shadow:
        """Fills, each with its grey, then lines, each with its width in units and its grey."""
        rows, columns = self.size_px
        image = Image.new("L", (columns, rows))
        pen = ImageDraw.Draw(image)
        for outline, grey in fills:
            pen.polygon(self._pixels(outline), fill=grey)
        for line, width, grey in lines:
            pen.line(self._pixels(line), fill=grey, width=max(1, round(width * rows / _PLANE)), joint="curve")
        blurred = image.filter(ImageFilter.GaussianBlur(blur * rows / _PLANE))
        return np.asarray(blurred, dtype=np.float32) / np.float32(255)

    def _pixels(self, curve: Curve) -> list[Point]:
        rows, columns = self.size_px
        return [(float(x), float(y)) for x, y in curve * (columns / _PLANE, rows / _PLANE)]


@dataclass(frozen=True)
class Build:
    """What differs from one person to the next."""

    width: float  # of the chest, 1 = as drawn
    heart: float  # of the heart's reach from the midline, 1 = as drawn
    descent: float  # of the diaphragm, in units
    fat: float  # added shadow of the soft tissue


def draw_build(rng: np.random.Generator) -> Build:
    """A healthy adult by chance."""
    return Build(
        width=rng.uniform(0.94, 1.02),
        heart=rng.uniform(0.9, 1.06),
        descent=rng.uniform(-25, 45),
        fat=rng.uniform(0, 0.06),
    )


def cast_shadows(plate: Plate, build: Build, rng: np.random.Generator) -> Shadow:
    """The sum of all shadows, (rows, columns) float32; 0 is unattenuated beam, 1 the densest soft tissue."""
    outline = _place(_BODY, build)
    body = plate.fill(outline, blur=3) * (0.25 + 0.75 * plate.haze(outline, blur=45))
    lungs = [_place(_RIGHT_LUNG, build), _place(_LEFT_LUNG, build)]
    heart = _place(_VESSELS_AND_HEART, build, reach=build.heart)
    air = _inflate(plate, lungs, heart)
    soft = 0.62 + build.fat + 0.22 * plate.haze(_place(_LIVER_AND_SPLEEN, build), blur=20)
    soft += 0.2 * plate.haze(heart, blur=26) - 0.54 * air - _airways(plate, build)
    shadow: Shadow = body * (soft + _bones(plate, build, air)) + air * _vessels(plate, build, rng)
    return shadow


def cast_marker(plate: Plate) -> Shadow:
    """The lead letter beside the patient's left shoulder: 1 where no beam passes."""
    return plate.fill(np.array(_MARKER, dtype=np.float64), blur=0.7)


def _inflate(plate: Plate, lungs: Sequence[Curve], heart: Curve) -> Shadow:
    """Where the beam meets air: sharp at the borders, deepest in the middle, thin behind the heart."""
    sharp, depth = plate.fill(*lungs, blur=2.2), plate.haze(*lungs, blur=30)
    air: Shadow = sharp * (0.5 + 0.5 * depth) * (1 - 0.9 * plate.fill(heart, blur=3.5))
    return air


def _airways(plate: Plate, build: Build) -> Shadow:
    trachea, right, left = (_place(curve, build, closed=False) for curve in (_TRACHEA, _RIGHT_BRONCHUS, _LEFT_BRONCHUS))
    bubble = plate.fill(_place(_GASTRIC_BUBBLE, build), blur=3.5)
    tree = plate.paint([], [(trachea, 34, 255), (right, 22, 190), (left, 20, 190)], blur=4)
    return 0.17 * tree + 0.34 * bubble


def _bones(plate: Plate, build: Build, air: Shadow) -> Shadow:
    """Ribs show best over air; the shoulder girdle and the spine add to soft tissue."""
    sides = (_PATIENT_RIGHT, _PATIENT_LEFT)
    posterior = [_posterior_rib(side, n, build) for side in sides for n in range(_POSTERIOR_RIBS)]
    anterior = [_anterior_rib(side, n, build) for side in sides for n in range(_ANTERIOR_RIBS)]
    ribs = 0.18 * _paint_bones(plate, posterior) + 0.11 * _paint_bones(plate, anterior)
    dark: Shadow = ribs * (0.3 + 0.7 * air) + _girdle(plate, build) + _spine(plate, build)
    return dark


def _paint_bones(plate: Plate, outlines: Sequence[Curve]) -> Shadow:
    """Bone is brighter at its rim, where the beam runs along the cortex."""
    rims = [(np.vstack([outline, outline[:1]]), 3.0, 255) for outline in outlines]
    return plate.paint([(outline, 150) for outline in outlines], rims, blur=1.8)


def _posterior_rib(side: int, number: int, build: Build) -> Curve:
    top = 122 + number * 58 + build.descent * number / _POSTERIOR_RIBS
    wall = _wall(top + 60 + 6 * number)
    slope = 30 + 7 * number
    reach = [
        (28, top + 14),
        (75, top - 2),
        (0.5 * wall, top + 4),
        (0.82 * wall, top + 0.55 * slope),
        (wall, top + 1.3 * slope),
    ]
    return _ribbon(_mirror(reach, side, build), _RIB_HALF_WIDTH, _RIB_HALF_WIDTH)


def _anterior_rib(side: int, number: int, build: Build) -> Curve:
    top = 215 + number * 72 + build.descent * number / _ANTERIOR_RIBS
    wall = _wall(top)
    reach = [(wall, top), (0.93 * wall, top + 40), (0.78 * wall, top + 80), (0.55 * wall, top + 112)]
    return _ribbon(_mirror(reach, side, build), _RIB_HALF_WIDTH, 1.3 * _RIB_HALF_WIDTH)


def _wall(y: float) -> float:
    """The chest wall's distance from the midline at a height."""
    edge = np.array(_RIGHT_LUNG[:8], dtype=np.float64)
    return float(_MIDLINE - np.interp(y, edge[:, 1], edge[:, 0])) + 6


def _girdle(plate: Plate, build: Build) -> Shadow:
    sides = (_PATIENT_RIGHT, _PATIENT_LEFT)
    clavicles = [_ribbon(_mirror(_CLAVICLE, side, build), 17, 13) for side in sides]
    blades = [_smooth(_mirror(_SCAPULA, side, build, smooth=False), closed=True) for side in sides]
    arms = [_smooth(_mirror(_HUMERUS, side, build, smooth=False), closed=True) for side in sides]
    spine: Shadow = (
        0.19 * _paint_bones(plate, clavicles) + 0.09 * _paint_bones(plate, blades) + 0.15 * _paint_bones(plate, arms)
    )
    return spine


def _spine(plate: Plate, build: Build) -> Shadow:
    """Vertebral bodies with darker discs between them, and a spinous process in each."""
    tops = [-20 + 26 * n + 0.9 * n * n for n in range(24)]
    bodies = [_box(_MIDLINE, top + 2, 27 + 0.5 * n, 21 + 1.6 * n) for n, top in enumerate(tops)]
    spines = [_box(_MIDLINE, top + 14, 4.5, 15 + 0.5 * n) for n, top in enumerate(tops)]
    column = plate.haze(_box(_MIDLINE, -60, 36, 1120), blur=14)
    shadow: Shadow = 0.06 * column + 0.1 * _paint_bones(plate, bodies) + 0.05 * plate.fill(*spines, blur=2.5)
    return shadow


def _vessels(plate: Plate, build: Build, rng: np.random.Generator) -> Shadow:
    """Two trees that leave the hila and thin out towards the wall; seen only against air."""
    twigs: list[_Twig] = []
    for side, x, y in ((_PATIENT_RIGHT, 62.0, 428.0), (_PATIENT_LEFT, 80.0, 405.0)):
        for angle in np.linspace(-1.3, 1.45, 10) + rng.normal(0, 0.12, 10):
            root = np.array([_MIDLINE + side * (x * build.width + rng.uniform(-18, 18)), y + 38 * angle])
            outwards = (np.pi if side == _PATIENT_RIGHT else 0.0) + side * angle
            _grow(twigs, root, outwards, rng.uniform(4, 8.5), rng)
    hila = [_disc(_MIDLINE - 80 * build.width, 430, 34, 68), _disc(_MIDLINE + 98 * build.width, 405, 34, 56)]
    return 0.3 * plate.paint([], twigs, blur=2.2) + 0.4 * plate.haze(*hila, blur=17)


def _grow(twigs: list[_Twig], root: Curve, angle: float, width: float, rng: np.random.Generator) -> None:
    """Add a branch and, while it is wide enough to be seen, the two it divides into."""
    length = 16 + 6 * width * rng.uniform(0.6, 1.2)
    bend = angle + rng.normal(0, 0.3)
    middle = root + 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
    tip = middle + 0.5 * length * np.array([np.cos(bend), np.sin(bend)])
    twigs.append((_smooth(np.array([root, middle, tip]), closed=False, steps=5), width, round(75 + 10 * width)))
    if width > 1.5:
        _grow(twigs, tip, bend + rng.uniform(0.0, 0.4), width * rng.uniform(0.72, 0.86), rng)
        _grow(twigs, tip, bend - rng.uniform(0.1, 0.6), width * rng.uniform(0.5, 0.76), rng)


def _place(points: Sequence[Point], build: Build, *, reach: float = 1.0, closed: bool = True) -> Curve:
    """Fit an outline to a person; the diaphragm's descent fades out from the dome to the apex."""
    return _fit(_smooth(np.array(points, dtype=np.float64), closed=closed), build, reach)


def _mirror(points: Sequence[Point], side: int, build: Build, *, smooth: bool = True) -> Curve:
    """Points given from the midline outwards, on one side of it."""
    plane = np.array([(_MIDLINE + side * x * build.width, y) for x, y in points])
    return _smooth(plane, closed=False) if smooth else plane


def _fit(curve: Curve, build: Build, reach: float) -> Curve:
    low = np.clip((curve[:, 1] - 250) / 450, 0, 1)
    x = _MIDLINE + (curve[:, 0] - _MIDLINE) * build.width * (1 + (reach - 1) * low)
    return np.column_stack([x, curve[:, 1] + build.descent * low])


def _smooth(points: Curve, *, closed: bool, steps: int = 12) -> Curve:
    """A Catmull-Rom curve through the points."""
    padded = np.vstack([points[-1:], points, points[:2]]) if closed else np.vstack([points[:1], points, points[-1:]])
    before, start, end, after = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = np.linspace(0, 1, steps)[None, :, None]
    cubic = (3 * (start - end) + after - before) * t**3 + (2 * before - 5 * start + 4 * end - after) * t**2
    curve: Curve = 0.5 * (2 * start + (end - before) * t + cubic)
    return curve.reshape(-1, 2)


def _ribbon(line: Curve, half_start: float, half_end: float) -> Curve:
    """The outline of a band around a line, its half width going from one value to the other."""
    along = np.gradient(line, axis=0)
    normal = np.column_stack([-along[:, 1], along[:, 0]]) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
    offset = normal * np.linspace(half_start, half_end, len(line))[:, None]
    return np.vstack([line + offset, (line - offset)[::-1]])


def _box(x: float, top: float, half_width: float, height: float) -> Curve:
    return np.array(
        [(x - half_width, top), (x + half_width, top), (x + half_width, top + height), (x - half_width, top + height)]
    )


def _disc(x: float, y: float, radius_x: float, radius_y: float) -> Curve:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.column_stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)])
