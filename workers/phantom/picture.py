"""From shadows to a film: pose, exposure, collimation, marker and noise."""

import numpy as np
from numpy.typing import NDArray

from workers.phantom.case import Case, Kind, View
from workers.phantom.devices import shade_marker
from workers.phantom.frontal import cast_frontal
from workers.phantom.lateral import cast_lateral
from workers.phantom.plate import PLANE, Plate, Pose, Shadow, box, stream

FILM_SIDE_MM = 430.0  # a 43 × 43 cm detector
_WHITE = 0xFFFF
_NOISE = 0.012  # of one pixel on a film of 1024
_STRUCTURE = 0.015


def draw_film(case: Case, size_px: int) -> NDArray[np.uint16]:
    """A film as a viewer hangs it: the patient's left at the viewer's right, unless the case says it is mirrored.

    Returns (size_px, size_px) uint16, 16 bits, bone white. Equal cases give equal pixels; a smaller film is the same
    film with fewer pixels.
    """
    plate = Plate(size_px, _draw_pose(case))
    shadow = cast_lateral(plate, case) if case.view is View.LATERAL else cast_frontal(plate, case)
    shadow += _STRUCTURE * np.clip(4 * shadow, 0, 1) * _mottle(size_px, stream(case.seed, "mottle"))
    shadow = _expose(shadow, stream(case.seed, "exposure")) * _collimate(size_px, stream(case.seed, "collimation"))
    shadow = np.maximum(shadow, 0.96 * shade_marker(Plate(size_px, Pose(is_mirrored=case.is_mirrored))))
    noise = stream(case.seed, "noise").standard_normal((size_px, size_px), dtype=np.float32)
    shadow += noise * (_NOISE * size_px / 1024) * np.sqrt(0.03 + shadow)
    return np.asarray(np.clip(shadow * _WHITE, 0, _WHITE), dtype=np.uint16)


def _draw_pose(case: Case) -> Pose:
    rng = stream(case.seed, "pose")
    return Pose(
        turn=rng.normal(0, 0.018),
        shift=(rng.uniform(-18, 18), rng.uniform(-12, 12)),
        zoom=rng.uniform(0.95, 1.02),
        is_mirrored=Kind.DEXTROCARDIA in case.kinds,
    )


def _expose(shadow: Shadow, rng: np.random.Generator) -> Shadow:
    """Straight up to 0.6, then a shoulder that never reaches white; brighter or darker by chance."""
    shoulder = 0.6 + 0.38 * np.tanh((shadow - 0.6) / 0.38)
    curve = np.where(shadow < 0.6, np.maximum(shadow, 0.02), shoulder)
    return np.asarray(rng.uniform(0.86, 1.0) * curve ** rng.uniform(0.85, 1.15), dtype=np.float32)


def _collimate(size_px: int, rng: np.random.Generator) -> Shadow:
    """1 inside the field; in a third of the films a black border of up to 4 cm on some sides is outside it."""
    if rng.random() > 0.35:
        return np.ones((1, 1), dtype=np.float32)
    left, right, top, bottom = rng.uniform(-40, 45, 4).clip(0)
    field = box((PLANE + left - right) / 2, top, (PLANE - left - right) / 2, PLANE - top - bottom)
    return Plate(size_px).fill(field, blur=1)


def _mottle(size_px: int, rng: np.random.Generator) -> Shadow:
    """Uneven tissue: noise of three grains, about unit variance."""
    mottle = np.zeros((size_px, size_px), dtype=np.float32)
    for cells in (24, 64, 160):
        grain = rng.normal(0, 0.8, (cells, cells)).astype(np.float32)
        mottle += _stretch(_stretch(grain, size_px).T, size_px).T
    return mottle


def _stretch(grain: Shadow, length_px: int) -> Shadow:
    """Interpolate the first axis to a length, with an eased weight so that no grid shows."""
    at = (np.arange(length_px) + 0.5) / length_px * (len(grain) - 1.001)
    cell = at.astype(np.intp)
    part = (at - cell).astype(np.float32)[:, None]
    ease = part * part * (3 - 2 * part)
    return np.asarray(grain[cell] * (1 - ease) + grain[cell + 1] * ease, dtype=np.float32)
