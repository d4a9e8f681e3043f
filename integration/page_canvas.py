"""Paper for the pages: fonts, colours, wrapped text, pictures. Equal drawings give equal bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import Self

import numpy as np
from fpdf import FPDF, XPos, YPos
from fpdf.fonts import TTFFont
from fpdf.util import Padding
from numpy.typing import NDArray
from PIL import Image

from integration.page_fonts import BOLD, REGULAR, fallbacks_for
from integration.page_text import Fact, Section

_FAMILY = "sans"
_MM_PER_PT = 25.4 / 72
_LINE = 1.35  # height of a line in sizes of its letters
_AFTER = Padding(bottom=0.4)  # mm between paragraphs
_JPEG_QUALITY = 90
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Theme:
    paper: Colour
    ink: Colour
    faint: Colour  # labels and what stands on every page
    alarm: Colour  # the banner and the frame of the warning


ON_PAPER = Theme(paper=(255, 255, 255), ink=(20, 20, 20), faint=(95, 95, 95), alarm=(165, 25, 25))
ON_SCREEN = Theme(paper=(0, 0, 0), ink=(235, 235, 235), faint=(170, 170, 170), alarm=(200, 200, 200))


class Canvas(FPDF):
    """A document of one size of page, used in a `with`; lengths in mm, sizes of letters in pt."""

    def __init__(self, size_mm: tuple[float, float], theme: Theme, texts: Iterable[str], *, title: str) -> None:
        """texts: all that will be drawn, checked by `require_drawable`."""
        super().__init__(format=size_mm)
        texts = tuple(texts)
        self.theme = theme
        self._digest = sha256("\x1f".join(texts).encode()).hexdigest()[:32].upper()
        self.alias_nb_pages("")  # else a "{nb}" in a text would become a number
        self.set_title(title)
        self.set_lang("en")
        self.add_font(_FAMILY, "", REGULAR)
        self.add_font(_FAMILY, "B", BOLD)
        fallbacks = fallbacks_for(texts)
        for font in fallbacks:
            self.add_font(font.stem, "", font)
        self.set_fallback_fonts([font.stem for font in fallbacks], exact_match=False)
        self.set_text_shaping(True, features={"liga": False})  # each letter can be found again in the file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """FPDF leaves the files of its fonts open."""
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.close()

    def header(self) -> None:
        self.set_fill_color(*self.theme.paper)
        self.rect(0, 0, self.w, self.h, style="F")

    def finish(self, created_at: datetime) -> bytes:
        """created_at: aware; the only time in the file."""
        self.set_creation_date(created_at)
        return bytes(self.output())

    def file_id(self) -> str:
        """In place of a random one. Source: ISO 32000-1 14.4."""
        return f"<{self._digest}><{self._digest}>"

    def say(
        self, text: str, *, size_pt: float, bold: bool = False, colour: Colour | None = None, width_mm: float = 0
    ) -> None:
        """Wrapped text from the left edge of the column on; ends below it."""
        self.set_font(_FAMILY, "B" if bold else "", size_pt)
        self.set_text_color(*(colour or self.theme.ink))
        height = size_pt * _MM_PER_PT * _LINE
        self.multi_cell(width_mm, height, text, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT, padding=_AFTER)

    def banner(self, text: str, height_mm: float) -> None:
        """A band across the page's head."""
        self.set_fill_color(*self.theme.alarm)
        self.rect(0, 0, self.w, height_mm, style="F")
        self.set_font(_FAMILY, "B", height_mm * 1.3)
        self.set_text_color(*self.theme.paper)
        self.set_xy(0, 0)
        self.cell(self.w, height_mm, text, align="C")

    def facts(self, facts: Iterable[Fact], size_pt: float, label_mm: float) -> None:
        """A row for each fact: its label, then its value."""
        left = self.l_margin
        for label, value in facts:
            self.set_x(left)
            top = self.y
            self.say(label, size_pt=size_pt, colour=self.theme.faint, width_mm=label_mm)
            self.set_xy(left + label_mm, top)
            self.say(value, size_pt=size_pt)
            self.set_x(left)

    def framed(self, lines: Iterable[str], size_pt: float) -> None:
        """Text in a frame that cannot be overlooked."""
        self.set_font(_FAMILY, "B", size_pt)
        self.set_text_color(*self.theme.ink)
        self.set_draw_color(*self.theme.alarm)
        self.set_line_width(0.6)
        height = size_pt * _MM_PER_PT * _LINE
        text = "\n".join(lines)
        self.multi_cell(0, height, text, border=1, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT, padding=2)
        self.ln(3)

    def section(self, section: Section, size_pt: float) -> None:
        self.set_x(self.l_margin)
        if self.will_page_break(3 * size_pt * _MM_PER_PT * _LINE):  # no heading without a line
            self.add_page()
        self.say(section.heading, size_pt=size_pt + 1, bold=True)
        for line in section.lines:
            self.say(line, size_pt=size_pt)
        self.ln(3)

    def picture(
        self, pixels: NDArray[np.uint8], *, x_mm: float, y_mm: float, width_mm: float, height_mm: float
    ) -> None:
        """Fit a picture, (H, W) or (H, W, 3), into a box, centred across."""
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY)
        height, width = pixels.shape[:2]
        scale = min(width_mm / width, height_mm / height)
        left = x_mm + (width_mm - width * scale) / 2
        self.image(file, x=left, y=y_mm, w=width * scale, h=height * scale)
