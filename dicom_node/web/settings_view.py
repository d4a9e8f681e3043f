"""The settings as they are in force, a line each; secrets are said to be set, and never shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel, SecretBytes, SecretStr

from dicom_node.config import Settings


@dataclass(frozen=True)
class SettingLine:
    """One value of dicom-node.toml."""

    name: str  # pacs[main].host
    value: str
    is_default: bool
    description: str


def lines_of(settings: Settings) -> list[SettingLine]:
    """In the order of the code, tables and lists opened up."""
    return list(_of_table("", settings))


def _of_table(prefix: str, table: BaseModel) -> Iterator[SettingLine]:
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        inner = list(_tables_in(f"{prefix}{name}", value))
        if inner:
            for each, other in inner:
                yield from _of_table(f"{each}.", other)
            continue
        is_default = not field.is_required() and value == field.get_default(call_default_factory=True)
        yield SettingLine(f"{prefix}{name}", _shown(value), is_default, field.description or "")


def _tables_in(name: str, value: object) -> Iterator[tuple[str, BaseModel]]:
    if isinstance(value, BaseModel):
        yield name, value
    elif isinstance(value, Mapping):
        yield from ((f"{name}.{key}", each) for key, each in value.items() if isinstance(each, BaseModel))
    elif isinstance(value, tuple):
        tables = [each for each in value if isinstance(each, BaseModel)]
        yield from ((f"{name}[{getattr(each, 'name', number)}]", each) for number, each in enumerate(tables, 1))


def _shown(value: object) -> str:
    if isinstance(value, SecretStr | SecretBytes):
        return "is set, not shown"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(each)}" for key, each in value.items()) or "none"
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()  # as TOML has it
    if isinstance(value, Enum):
        return str(value.value)
    return "none" if value in (None, "") else str(value)
