"""How well a model reads phantom films: findings, sides, and what it makes up."""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import track

from dicom_node.shares import Share, share
from workers.llavarad.engine import Engine
from workers.phantom.case import SIDELESS, Case, Kind, draw_case
from workers.phantom.picture import draw_film
from workers.phantom.reading import Claim, read_findings
from workers.pixels import equalise_histogram, to_8_bit

UNSEEN = 1_000_000  # the first seed: no film to learn from has one so high


@dataclass(frozen=True)
class Score:
    """Of the findings in the films, how many are named; of those, how many with their side or sides; of the findings
    named, how many are not in the film; of the films, how many are read without any fault.
    """

    findings: Share
    sides: Share
    false_findings: Share
    films: Share


def score(pairs: Iterable[tuple[Case, str]]) -> Score:
    """What the drafts say of the cases."""
    named, sided, false, faultless = [], [], [], []
    for case, draft in pairs:
        true = frozenset((finding.kind, finding.side) for finding in case.findings)
        said = read_findings(draft)
        found = case.kinds & _kinds(said)
        named += [kind in found for kind in case.kinds]
        sided += [_sides(true, kind) == _sides(said, kind) for kind in found - SIDELESS]
        false += [kind not in case.kinds for kind in _kinds(said)]
        faultless.append(true == said)
    return Score(*(share(sum(each), len(each)) for each in (named, sided, false, faultless)))


def read_films(engine: Engine, seeds: Sequence[int], size_px: int) -> list[tuple[Case, str]]:
    """Draw each film, make it 8-bit as the node does, and have it read."""
    return [(case, _draft(engine, case, size_px)) for case in map(draw_case, track(seeds, "Films"))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the score of a model folder."""
    parser = argparse.ArgumentParser(prog="python -m workers.phantom.score", description=__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=UNSEEN)
    parser.add_argument("--size-px", type=int, default=1024)
    options = parser.parse_args(arguments)
    seeds = range(options.first_seed, options.first_seed + options.films)
    pairs = read_films(Engine.load(options.model, device="cpu"), seeds, options.size_px)
    result = score(pairs)
    for name, value in vars(result).items():
        print(f"{name.replace('_', ' '):15} {value}")
    for kind in Kind:
        print(f"{kind:15} {_of_kind(pairs, kind)}")
    print(json.dumps(asdict(result)))


def _of_kind(pairs: Sequence[tuple[Case, str]], kind: Kind) -> Share:
    """How many films with a finding of the kind have it named, side and all."""
    cases = [(case, read_findings(draft)) for case, draft in pairs if kind in case.kinds]
    right = [
        _sides(((each.kind, each.side) for each in case.findings), kind) == _sides(said, kind) for case, said in cases
    ]
    return share(sum(right), len(right))


def _draft(engine: Engine, case: Case, size_px: int) -> str:
    picture = equalise_histogram(to_8_bit(draw_film(case, size_px)))
    return engine.write_findings(picture, case.indication).text


def _kinds(claims: Iterable[Claim]) -> frozenset[Kind]:
    return frozenset(kind for kind, _ in claims)


def _sides(claims: Iterable[Claim], kind: Kind) -> frozenset[Claim]:
    return frozenset(claim for claim in claims if claim[0] is kind)


if __name__ == "__main__":
    main()
