"""The film and the draft side by side on one dark page, as high as the text needs."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from integration.page_canvas import ON_SCREEN, Canvas
from integration.page_text import PageText

_WIDTH_MM, _LEAST_HEIGHT_MM = 297.0, 210.0
_FILM_MM, _MARGIN_MM = 148.0, 8.0
_BANNER_MM = 9.0
_TOP_MM, _BOTTOM_MM = _BANNER_MM + 5, 14.0
_LABEL_MM = 36.0
_HIGHEST_MM = 3_000.0  # of a page to try how high the text is


def draw_capture(text: PageText, film: NDArray[np.uint8], created_at: datetime) -> bytes:
    """A PDF of one page. created_at: aware."""
    with _draw_text(text, _HIGHEST_MM) as trial:
        needed = trial.y + _BOTTOM_MM
    with _draw_text(text, max(needed, _LEAST_HEIGHT_MM)) as page:
        height = _LEAST_HEIGHT_MM - _TOP_MM - _BOTTOM_MM
        page.picture(film, x_mm=_MARGIN_MM, y_mm=_TOP_MM, width_mm=_FILM_MM - _MARGIN_MM, height_mm=height)
        _sign(page, text)
        return page.finish(created_at)


def _draw_text(text: PageText, height_mm: float) -> Canvas:
    page = Canvas((_WIDTH_MM, height_mm), ON_SCREEN, text.texts(), title=text.banner)
    page.set_auto_page_break(False)
    page.set_margins(_FILM_MM + _MARGIN_MM, _TOP_MM, _MARGIN_MM)
    page.add_page()
    page.banner(text.banner, _BANNER_MM)
    page.set_xy(page.l_margin, _TOP_MM)
    page.framed(text.warning, 10)
    page.facts(text.facts, 9.5, _LABEL_MM)
    page.ln(3)
    for section in text.sections:
        page.section(section, 10.5)
    return page


def _sign(page: Canvas, text: PageText) -> None:
    page.set_left_margin(_MARGIN_MM)
    page.set_xy(_MARGIN_MM, page.h - _BOTTOM_MM + 3)
    page.say(f"{text.banner} · {text.origin} · page 1 of 1", size_pt=8, colour=page.theme.faint)
