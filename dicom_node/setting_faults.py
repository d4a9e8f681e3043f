"""What is wrong with settings, in words: the setting, its value, what was expected, the file. Secrets are not shown."""

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from dicom_node.config import Settings
from dicom_node.setting_sources import PREFIX, did_you_mean, origin

# Settings that are secrets or hold some. An address (://), too, may hold a password.
_SECRET = frozenset(
    {"database_url", "database_password", "broker_url", "metrics_token", "stow_clients", "notify", "oidc"}
)

Place = tuple[int | str, ...]


def in_words(error: ValidationError) -> str:
    """A line for each fault, and where the settings came from."""
    return "\n".join([*(_sentence(each) for each in error.errors()), f"({origin()})"])


def no_json(error: SettingsError) -> str:
    """A variable or a secret file that should hold a list or a table: where it breaks, not what stands there."""
    field = re.search(r'field "(\w+)"', str(error))
    name = PREFIX + field[1].upper() if field else "a variable"
    return f"{name} is no JSON, as lists and tables are written there: {error.__cause__ or error}"


def _sentence(fault: ErrorDetails) -> str:
    return f"setting {'.'.join(map(str, fault['loc'])) or '(all)'}{_value(fault)}: {_expected(fault)}"


def _value(fault: ErrorDetails) -> str:
    """Not that of a key that is unknown: it may be a secret's, spelt wrong."""
    value, root = fault["input"], next(iter(fault["loc"]), "")
    is_open = isinstance(value, str | int | float) and "://" not in str(value)
    return f" = {value!r}" if is_open and root not in _SECRET and fault["type"] != "extra_forbidden" else ""


def _expected(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        return _unknown(fault["loc"])
    if fault["type"] == "tuple_type" and isinstance(fault["input"], dict):
        return f"expected a list of tables: [[{'.'.join(map(str, fault['loc']))}]], in double brackets"
    return fault["msg"].removeprefix("Value error, ")


def _unknown(place: Place) -> str:
    *table, name = place
    if table and name in Settings.model_fields:
        return "a key of the top level: it stands above the first [table]"
    return f"there is no such setting{did_you_mean(str(name), _model_at(table).model_fields)}"


def _model_at(table: list[int | str]) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for part in table:
        if part in model.model_fields:  # else a number, or the name of a peer
            model = next(_models(model.model_fields[str(part)].annotation), model)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
