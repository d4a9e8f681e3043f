"""The plane of drawing: 1000 × 1000 units over the whole film, and outlines that are filled, blurred and added.

x grows to the viewer's right, which is the patient's left; y grows downwards. A shadow is a fraction of full white.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Curve = NDArray[np.float64]
Shadow = NDArray[np.float32]
Point = tuple[float, float]
Fill = tuple[Curve, int]  # outline, grey
Line = tuple[Curve, float, int]  # points, width in units, grey

PLANE = 1000.0
MIDLINE = 500.0
_FINE_PX = 512  # below this a film is drawn at twice its size and averaged, as Pillow's pen has no half pixels


@dataclass(frozen=True)
class Pose:
    """How the patient stands before the plate."""

    turn: float = 0.0  # radians, clockwise for the viewer
    shift: Point = (0.0, 0.0)  # units
    zoom: float = 1.0
    is_mirrored: bool = False


@dataclass(frozen=True)
class Plate:
    """A square film of some size with a patient before it."""

    size_px: int
    pose: Pose = Pose()

    def haze(self, *outlines: Curve, blur: float) -> Shadow:
        """As fill, for a wide blur: drawn at a quarter of the size, which nobody sees and is much faster."""
        small = Plate(max(1, self.size_px // 4), self.pose).fill(*outlines, blur=blur)
        large = Image.fromarray(small).resize((self.size_px, self.size_px), Image.Resampling.BILINEAR)
        return np.asarray(large, dtype=np.float32)

    def fill(self, *outlines: Curve, blur: float) -> Shadow:
        """Closed outlines in white on black; blur is the sigma in units."""
        return self.paint([(outline, 255) for outline in outlines], [], blur=blur)

    def paint(self, fills: Sequence[Fill], lines: Sequence[Line], *, blur: float) -> Shadow:
        """Fills, each with its grey, then lines, each with its width in units and its grey. Returns (H, W) float32."""
        samples = 2 if self.size_px < _FINE_PX else 1
        scale = samples * self.size_px / PLANE
        image = Image.new("L", (samples * self.size_px,) * 2)
        pen = ImageDraw.Draw(image)
        for (_, grey), pixels in zip(fills, self._pixels([fill[0] for fill in fills], scale), strict=True):
            pen.polygon(pixels, fill=grey)
        for (_, width, grey), pixels in zip(lines, self._pixels([line[0] for line in lines], scale), strict=True):
            pen.line(pixels, fill=grey, width=max(1, round(width * scale * self.pose.zoom)), joint="curve")
        blurred = image.reduce(samples).filter(ImageFilter.GaussianBlur(blur * self.size_px / PLANE))
        return np.asarray(blurred, dtype=np.float32) / np.float32(255)

    def _pixels(self, curves: Sequence[Curve], scale: float) -> Iterator[list[float]]:
        """Each curve as x, y, x, y …; all are moved at once, as most have three points."""
        turn, shift = self._view
        flat = ((np.concatenate([np.empty((0, 2)), *curves]) @ turn + shift) * scale).ravel().tolist()
        ends = np.cumsum([2 * len(curve) for curve in curves], dtype=int).tolist()
        yield from (flat[start:end] for start, end in pairwise([0, *ends]))

    @functools.cached_property
    def _view(self) -> tuple[Curve, Curve]:
        """Matrix and offset from the patient's units to the film's."""
        cos, sin = np.cos(self.pose.turn), np.sin(self.pose.turn)
        turn = self.pose.zoom * np.array([[cos, sin], [-sin, cos]])
        turn[0] *= -1 if self.pose.is_mirrored else 1
        return turn, MIDLINE + np.array(self.pose.shift) - np.full(2, MIDLINE) @ turn


def stream(seed: int, name: str) -> np.random.Generator:
    """Chance for one part of a film, so that no part depends on what else is drawn."""
    return np.random.default_rng([seed, *name.encode()])


def smooth(points: Sequence[Point] | Curve, *, closed: bool, steps: int = 8) -> Curve:
    """A Catmull-Rom curve through the points."""
    at = np.asarray(points, dtype=np.float64)
    padded = np.vstack([at[-1:], at, at[:2]]) if closed else np.vstack([at[:1], at, at[-1:]])
    curve: Curve = _weights(steps) @ np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]], axis=1)
    return curve.reshape(-1, 2)


@functools.cache
def _weights(steps: int) -> Curve:
    """What each of four neighbouring points adds to the curve between the middle two, (steps, 4)."""
    t = np.linspace(0, 1, steps)[:, None]
    powers = np.hstack([t**3, t**2, t, np.ones_like(t)])
    cubic = np.array([[-1, 3, -3, 1], [2, -5, 4, -1], [-1, 0, 1, 0], [0, 2, 0, 0]])
    weights: Curve = 0.5 * powers @ cubic
    return weights


def ribbon(line: Curve, half_start: float, half_end: float) -> Curve:
    """The outline of a band around a line, its half width going from one value to the other."""
    along = np.vstack([line[1] - line[0], line[2:] - line[:-2], line[-1] - line[-2]])
    normal = along[:, ::-1] * (-1, 1) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
    offset = normal * np.linspace(half_start, half_end, len(line))[:, None]
    return np.vstack([line + offset, (line - offset)[::-1]])


def box(x: float, top: float, half_width: float, height: float) -> Curve:
    bottom = top + height
    return np.array([(x - half_width, top), (x + half_width, top), (x + half_width, bottom), (x - half_width, bottom)])


def disc(x: float, y: float, radius_x: float, radius_y: float) -> Curve:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.column_stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)])
