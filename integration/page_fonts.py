"""The fonts of the pages, and whether they can draw a text: what they cannot draw leaves in no picture at all."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont

from dicom_node.errors import InvalidOutput

_FOLDER = Path(__file__).parent / "fonts"
REGULAR = _FOLDER / "DejaVuSans.ttf"  # Latin, Greek, Cyrillic, Hebrew, Arabic and more
BOLD = _FOLDER / "DejaVuSans-Bold.ttf"
# What those do not have is looked for here, in this order.
FALLBACKS = (
    _FOLDER / "DroidSansFallbackFull.ttf",  # Chinese, Japanese
    _FOLDER / "NanumGothicCoding.ttf",  # Korean
)


def require_drawable(texts: Iterable[str]) -> None:
    """Raises InvalidOutput if any character has no glyph. Which one stays out of the message: it may be a name's."""
    missing = {each for text in texts for each in text if not is_drawable(each)}
    if missing:
        raise InvalidOutput(f"page: the fonts cannot draw {len(missing)} of its characters, expected all of them")


def is_drawable(character: str) -> bool:
    return ord(character) in _of_both_weights() or _fallback_of(character) is not None


def fallbacks_for(texts: Iterable[str]) -> tuple[Path, ...]:
    """The big fonts that have to be loaded, which takes a second each."""
    absent = {each for text in texts for each in text if ord(each) not in _of_both_weights()}
    needed = {_fallback_of(each) for each in absent}
    return tuple(font for font in FALLBACKS if font in needed)


def _fallback_of(character: str) -> Path | None:
    return next((font for font in FALLBACKS if ord(character) in _repertoire(font)), None)


@cache
def _of_both_weights() -> frozenset[int]:
    return _repertoire(REGULAR) & _repertoire(BOLD)


@cache
def _repertoire(font: Path) -> frozenset[int]:
    with TTFont(font, lazy=True) as opened:
        return frozenset(opened.getBestCmap())
