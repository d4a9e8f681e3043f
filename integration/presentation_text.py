"""The draft as text objects over the film: cut into lines and pieces, because viewers wrap nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from integration.document import ReportDocument
from integration.page_text import write_page

_LINE_CHARACTERS = 100
_PIECE_CHARACTERS = 1_024  # PS3.5 6.2, ST
_LINE_END = "\r\n"
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.02, 0.98, 0.02, 0.98  # shares of the displayed area
_LINE_HEIGHT = 0.022  # less where the draft is long


@dataclass(frozen=True)
class TextBox:
    """text: ST. The corners are shares of the displayed area, across and down."""

    text: str
    top_left: tuple[float, float]
    bottom_right: tuple[float, float]


def write_boxes(document: ReportDocument) -> tuple[TextBox, ...]:
    """The warning, then what to check, the indication and the draft; the banner opens each box."""
    pieces = tuple(_pieces(document))
    counts = [piece.count(_LINE_END) + 2 for piece in pieces]  # its lines, and one free
    height = min(_LINE_HEIGHT, (_BOTTOM - _TOP) / sum(counts))
    tops = [_TOP + height * sum(counts[:index]) for index in range(len(pieces))]
    return tuple(
        TextBox(piece, (_LEFT, round(top, 4)), (_RIGHT, round(top + height * (count - 1), 4)))
        for piece, count, top in zip(pieces, counts, tops, strict=True)
    )


def _pieces(document: ReportDocument) -> Iterator[str]:
    banner = write_page(document).banner
    piece = banner
    for line in _lines(document):
        if len(piece) + len(_LINE_END) + len(line) > _PIECE_CHARACTERS:
            yield piece
            piece = banner
        piece += _LINE_END + line
    yield piece


def _lines(document: ReportDocument) -> Iterator[str]:
    text = write_page(document)
    headed = ((f"{section.heading}:", *section.lines) for section in text.sections)
    for line in (*text.warning, *(line for lines in headed for line in lines)):
        yield from wrap(line, _LINE_CHARACTERS, drop_whitespace=True, break_on_hyphens=False)
