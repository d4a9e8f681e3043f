"""A contact sheet: one film for every finding and side, small and equalised as a model sees it, with its name."""

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from workers.phantom.case import SIDELESS, Case, Finding, Kind, Side, Size, View, draw_finding
from workers.phantom.picture import draw_film
from workers.pixels import equalise_histogram, to_8_bit

_FILM_PX, _CAPTION_PX, _COLUMNS = 180, 26, 7


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet as a PNG."""
    parser = argparse.ArgumentParser(prog="python -m workers.phantom.sheet", description=__doc__)
    parser.add_argument("destination", type=Path, metavar="DEST.png")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    draw_sheet(list(_choose_cases(options.seed))).save(options.destination, optimize=True)


def draw_sheet(cases: Sequence[Case]) -> Image.Image:
    """Films in rows, each under what it shows."""
    step = _FILM_PX + _CAPTION_PX
    sheet = Image.new("L", (_COLUMNS * _FILM_PX, -(-len(cases) // _COLUMNS) * step))
    for number, case in enumerate(cases):
        x, y = number % _COLUMNS * _FILM_PX, number // _COLUMNS * step
        sheet.paste(Image.fromarray(equalise_histogram(to_8_bit(draw_film(case, _FILM_PX)))), (x, y + _CAPTION_PX))
        ImageDraw.Draw(sheet).text((x + 3, y + 1), _name(case), fill=255)
    return sheet


def _choose_cases(seed: int) -> Iterator[Case]:
    rng = random.Random(seed)
    yield Case(seed)
    for kind in Kind:
        for side in [None] if kind in SIDELESS else list(Side):
            yield Case(rng.randrange(10_000), View.PA, (draw_finding(rng, kind, side),))
    yield Case(seed, View.PA, (Finding(Kind.DEXTROCARDIA),), is_mirrored=True)
    yield Case(seed, View.PA, tuple(Finding(Kind.EFFUSION, side, Size.SMALL) for side in Side))
    yield Case(seed, View.PA, (Finding(Kind.PNEUMOTHORAX, Side.LEFT, Size.SMALL), Finding(Kind.FRACTURE, Side.LEFT)))
    yield Case(seed, View.AP)
    yield Case(seed, View.LATERAL)


def _name(case: Case) -> str:
    found = [f"{one.size or one.zone or ''} {one.label}".strip() for one in case.findings]
    return f"{case.view} {chr(10).join(found) or 'normal'}{', film mirrored' if case.is_mirrored else ''}"


if __name__ == "__main__":
    main()
