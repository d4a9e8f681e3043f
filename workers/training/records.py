"""Films and their reports, as the published annotation files list them.

One JSON list of {"id", "image", "view", "reason", "generate_method", "conversations": [human's turn, gpt's turn]}.
Source: LLaVA-Rad MIMIC-CXR Annotations (PhysioNet), `chat_train_MIMIC_CXR_all_gpt4extract_rulebased_v1.json`.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dicom_node.errors import Permanent

# The model reads frontal films only. Source: LLaVA-Rad, its loaders.
FRONTAL_VIEWS = ("AP", "PA")
_PUBLISHED_PREFIX = "mimic/"


@dataclass(frozen=True)
class Record:
    """One film and what was written about it.

    reason: the indication, empty if there was none. labels: the findings as short phrases, where the data has them.
    """

    id: str
    image: Path
    view: str
    reason: str
    generate_method: str
    findings: str
    labels: tuple[str, ...] | None = None


class _Turn(BaseModel):
    speaker: str = Field(alias="from")
    value: str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: str
    image: str
    view: str
    reason: str | None = None
    generate_method: str = ""
    conversations: list[_Turn]
    labels: tuple[str, ...] | None = None


_Entries = TypeAdapter(list[_Entry])


def read_records(path: Path, *, images: Path | None = None) -> list[Record]:
    """The frontal films that have findings, in the order of the file.

    images: the folder that the image paths are relative to, by default the file's own.
    Raises Permanent naming the first record and field that cannot be used, never its text.
    """
    try:
        entries = _Entries.validate_json(path.read_bytes())
    except OSError as error:
        raise Permanent(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise Permanent(f"{path.name}: {_place(error)}") from error
    records = [_record(each, number, images or path.parent) for number, each in enumerate(entries)]
    usable = [each for each in records if each.view in FRONTAL_VIEWS and each.findings]
    if not usable:
        raise Permanent(f"{path.name} holds no frontal film ({' or '.join(FRONTAL_VIEWS)}) with findings")
    return usable


def _record(entry: _Entry, number: int, images: Path) -> Record:
    answers = [turn.value for turn in entry.conversations if turn.speaker == "gpt"]
    if len(answers) != 1:
        raise Permanent(f"record {number}: conversations: {len(answers)} turns of gpt, expected 1")
    return Record(
        id=entry.id,
        image=images / entry.image.removeprefix(_PUBLISHED_PREFIX),
        view=entry.view,
        reason=(entry.reason or "").strip(),
        generate_method=entry.generate_method,
        findings=answers[0].strip(),
        labels=entry.labels,
    )


def _place(error: ValidationError) -> str:
    first = error.errors()[0]
    if not first["loc"]:
        return f"expected a JSON list of records: {first['msg']}"
    record, *field = first["loc"]
    return f"record {record}: {'.'.join(str(part) for part in field) or 'content'}: {first['msg']}"
