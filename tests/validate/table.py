"""deploy/validation.md: what independent validators say of what the node sends."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from checking import VALIDATORS, Verdict

_HEAD = """# What independent validators say of what the node sends

Written by `make validate` on {date}. {taken} published files, radiographs and headers in every character set, are each
drafted twice: as a first draft that stays in the file's character set, and as revision 2 with umlauts, delimiters,
flags, a predecessor and the synthetic model. Of each draft the node makes every kind of object and message that it can
send; each validator then checks every one of a kind that it knows. A file that is only a header gets a film of ours.

Each cell: files checked, and what was found in them that is not on the list of accepted messages below.

"""
_TEXT = """
"–": it does not know the kind. dciodvfy (dicom3tools) and dicom-validator check modules and attributes by PS3.3, of all
objects; dsrdump (DCMTK) the SR tree and PixelMed its templates by PS3.16, of SRs and key objects alone; dcmpschk
(DCMTK) presentation states alone; hl7apy, strict, the structure of HL7 messages, in each version as TX, FT and ED. The
bytes of a PDF are checked by none of them: our own gate reads them back with pdfium.
"""


def write_table(verdicts: Mapping[str, Verdict], taken: int, refused: Mapping[str, str]) -> str:
    """refused: names of published files of which no draft is ever made, and why."""
    head = _HEAD.format(date=f"{datetime.now(UTC):%Y-%m-%d}", taken=taken)
    table = _table(("kind", *VALIDATORS), (_row(kind, verdict) for kind, verdict in sorted(verdicts.items())))
    return head + table + _TEXT + "".join(_sections(verdicts, refused))


def _row(kind: str, verdict: Verdict) -> tuple[str, ...]:
    return (kind, *(_cell(verdict, tool) for tool in VALIDATORS))


def _cell(verdict: Verdict, tool: str) -> str:
    if not verdict.checked[tool]:
        return "–"
    errors, warnings = (verdict.count(tool, severity) for severity in "EW")
    found = f"{errors} errors, {warnings} warnings" if errors or warnings else "clean"
    return f"{verdict.checked[tool]}: {found}"


def _sections(verdicts: Mapping[str, Verdict], refused: Mapping[str, str]) -> Iterator[str]:
    opposed = Counter((kind, each.tool, each.severity, each.name) for kind, v in verdicts.items() for each in v.opposed)
    yield "\n## Found\n\n"
    rows = [(*what, str(times)) for what, times in sorted(opposed.items())]
    yield _table(("kind", "validator", "severity", "message", "times"), rows) if rows else "Nothing.\n"
    yield "\n## Accepted\n\n"
    accepted: Counter[tuple[str, ...]] = Counter()
    for verdict in verdicts.values():
        for (rule, name), times in verdict.accepted.items():
            accepted[rule.tool, rule.severity, name, rule.reason] += times
    rows = [(tool, severity, name, str(n), why) for (tool, severity, name, why), n in sorted(accepted.items())]
    yield _table(("validator", "severity", "message", "times", "why"), rows)
    yield "\n## Refused by the node itself\n\n"
    refusals = [
        (kind, str(times), words) for kind, v in sorted(verdicts.items()) for words, times in v.refusals.items()
    ]
    yield _table(("kind", "drafts", "why"), refusals) if refusals else "No draft.\n"
    yield "\nOn arrival, so that nothing is ever made of them:\n\n"
    yield _table(("file", "why"), refused.items())


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(head)]
    lines += [("---",) * len(lines[0]), *map(tuple, rows)]
    return "".join(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in line)} |\n" for line in lines)
