"""The draft on sheets of A4: warning, facts and text, then the film, then where the model looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from dicom_node.attention import CAPTION
from integration.page_canvas import ON_PAPER, Canvas
from integration.page_text import PageText

_A4_MM = (210.0, 297.0)
_MARGIN_MM = 18.0
_BANNER_MM = 10.0
_TOP_MM, _BOTTOM_MM = 26.0, 20.0  # of the text
_LABEL_MM = 38.0
_COLUMNS, _GAP_MM, _PICTURE_MM = 2, 6.0, 78.0
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """film: (H, W). attended: for each sentence its words, and the film with its map, (H, W, 3)."""

    film: Pixels
    attended: Sequence[tuple[str, Pixels]] = ()


class _Sheets(Canvas):
    """Every page says what it is, whose it is, and which page of how many."""

    def __init__(self, text: PageText, page_count: int) -> None:
        super().__init__(_A4_MM, ON_PAPER, text.texts(), title=text.banner)
        self._text, self._page_count = text, page_count
        self.set_margins(_MARGIN_MM, _TOP_MM, _MARGIN_MM)
        self.set_auto_page_break(True, margin=_BOTTOM_MM)

    def header(self) -> None:
        super().header()
        self.banner(self._text.banner, _BANNER_MM)
        self.set_xy(_MARGIN_MM, _BANNER_MM + 3)
        self.say(self._text.patient, size_pt=8, colour=self.theme.faint)
        self.set_xy(_MARGIN_MM, max(self.y + 2, _TOP_MM))

    def footer(self) -> None:
        self.set_y(-_BOTTOM_MM + 6)
        self.say(self._text.origin, size_pt=8, colour=self.theme.faint)
        self.say(f"{self._text.banner} · page {self.page} of {self._page_count}", size_pt=8, bold=True)


def draw_sheets(text: PageText, pictures: Pictures, created_at: datetime) -> bytes:
    """Drawn twice, because the first page says how many follow. created_at: aware."""
    with _draw(text, pictures, 0) as trial:
        page_count = trial.page
    with _draw(text, pictures, page_count) as sheets:
        return sheets.finish(created_at)


def _draw(text: PageText, pictures: Pictures, page_count: int) -> Canvas:
    sheets = _Sheets(text, page_count)
    sheets.add_page()
    sheets.framed(text.warning, 11)
    sheets.facts(text.facts, 10, _LABEL_MM)
    sheets.ln(4)
    for section in text.sections:
        sheets.section(section, 11)
    _draw_film(sheets, pictures.film)
    if pictures.attended:
        _draw_attention(sheets, pictures.attended)
    return sheets


def _draw_film(sheets: Canvas, film: Pixels) -> None:
    """As large as the rest of the page if that is half a page, else as large as a page."""
    if _space(sheets) < sheets.eph / 2:
        sheets.add_page()
    sheets.picture(film, x_mm=_MARGIN_MM, y_mm=sheets.y, width_mm=sheets.epw, height_mm=_space(sheets))


def _draw_attention(sheets: Canvas, attended: Sequence[tuple[str, Pixels]]) -> None:
    sheets.add_page()
    sheets.say("Where the model looked", size_pt=12, bold=True)
    sheets.say(CAPTION, size_pt=10)
    sheets.ln(3)
    for first in range(0, len(attended), _COLUMNS):
        _draw_row(sheets, attended[first : first + _COLUMNS])


def _draw_row(sheets: Canvas, row: Sequence[tuple[str, Pixels]]) -> None:
    width = (sheets.epw - _GAP_MM * (_COLUMNS - 1)) / _COLUMNS
    if _space(sheets) < _PICTURE_MM + 20:
        sheets.add_page()
    top, bottom = sheets.y, sheets.y
    for column, (sentence, picture) in enumerate(row):
        left = _MARGIN_MM + column * (width + _GAP_MM)
        sheets.picture(picture, x_mm=left, y_mm=top, width_mm=width, height_mm=_PICTURE_MM)
        sheets.set_xy(left, top + _PICTURE_MM + 1)
        sheets.say(sentence, size_pt=9, width_mm=width)
        bottom = max(bottom, sheets.y)
    sheets.set_xy(_MARGIN_MM, bottom + 4)


def _space(sheets: Canvas) -> float:
    return sheets.h - _BOTTOM_MM - sheets.y
