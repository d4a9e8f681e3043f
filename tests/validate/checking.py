"""All that is made, before all validators."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hl7_strict import check_with_hl7apy
from samples import Draft, Made, messages, objects
from validators import (
    Message,
    check_with_dciodvfy,
    check_with_dcmpschk,
    check_with_dicom_validator,
    check_with_dsrdump,
    check_with_pixelmed,
)
from whitelist import Rule, read_rules

Check = Callable[[Sequence[Path]], list[Message]]
Applies = Callable[[str], bool]


def _is_message(kind: str) -> bool:
    return kind.startswith("ORU")


def _is_object(kind: str) -> bool:
    return not _is_message(kind)


def _is_sr(kind: str) -> bool:
    """A rejection note is one to them, by its tree."""
    return kind.startswith("SR") or kind == "rejection note"


# What each knows: of other kinds it says nothing, or that it does not know them.
VALIDATORS: Mapping[str, tuple[Applies, Check]] = {
    "dciodvfy": (_is_object, check_with_dciodvfy),
    "dicom-validator": (_is_object, check_with_dicom_validator),
    "dsrdump": (_is_sr, check_with_dsrdump),
    "pixelmed": (_is_sr, check_with_pixelmed),
    "dcmpschk": (lambda kind: kind == "GSPS", check_with_dcmpschk),
    "hl7apy": (_is_message, check_with_hl7apy),
}


@dataclass
class Verdict:
    """What the validators said of one kind of object or message."""

    files: int = 0
    refusals: Counter[str] = field(default_factory=Counter)  # words → drafts that the node makes none of
    checked: Counter[str] = field(default_factory=Counter)  # validator → files
    opposed: list[Message] = field(default_factory=list)  # outside the whitelist
    accepted: Counter[tuple[Rule, str]] = field(default_factory=Counter)  # rule, name of the message → times

    def count(self, tool: str, severity: str) -> int:
        return sum((each.tool, each.severity) == (tool, severity) for each in self.opposed)


def validate(drafts: Iterable[Draft], folder: Path) -> dict[str, Verdict]:
    """Make everything of the drafts, in the folder, and let everybody check it. Returns a verdict for each kind."""
    verdicts: defaultdict[str, Verdict] = defaultdict(Verdict)
    kinds: dict[Path, str] = {}
    for draft in drafts:
        for made in (*objects(draft), *messages(draft)):
            if file := _keep(made, folder / f"{len(kinds):04}-{Path(draft.source).stem}", verdicts[made.kind]):
                kinds[file] = made.kind
    rules = read_rules()
    for tool, (applies, check) in VALIDATORS.items():
        files = [file for file, kind in kinds.items() if applies(kind)]
        for file in files:
            verdicts[kinds[file]].checked[tool] += 1
        for message in check(files):
            _judge(verdicts[kinds[message.file]], message, rules)
    return dict(verdicts)


def _keep(made: Made, path: Path, verdict: Verdict) -> Path | None:
    if made.refusal:
        verdict.refusals[made.refusal] += 1
        return None
    verdict.files += 1
    file = path.with_name(path.name + (".hl7" if _is_message(made.kind) else ".dcm"))
    file.write_bytes(made.payload)
    return file


def _judge(verdict: Verdict, message: Message, rules: Sequence[Rule]) -> None:
    rule = next((each for each in rules if each.covers(message)), None)
    if rule is None:
        verdict.opposed.append(message)
    else:
        verdict.accepted[rule, message.name] += 1
