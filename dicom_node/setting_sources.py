"""Where settings come from: a TOML file and a folder of secrets, both named by the environment."""

import os
import tomllib
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic_settings import TomlConfigSettingsSource

from dicom_node.errors import Permanent

CONFIG_FILE_VARIABLE = "DICOM_NODE_CONFIG"
SECRETS_FOLDER_VARIABLE = "DICOM_NODE_SECRETS"
PREFIX = "DICOM_NODE_"
# The last is docker-compose.yml's own.
_NO_SETTINGS = (CONFIG_FILE_VARIABLE, SECRETS_FOLDER_VARIABLE, "DICOM_NODE_TAG")


class TomlFile(TomlConfigSettingsSource):
    """The settings' file. Raises Permanent, naming it, where it cannot be read."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        try:
            return tomllib.loads(file_path.read_bytes().decode("utf-8-sig"))  # editors of Windows begin with a BOM
        except OSError as error:
            raise Permanent(f"{file_path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise Permanent(f"{file_path}, line {line}, is not UTF-8: save the file as UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise Permanent(f"{file_path} is no TOML: {error}") from error


def config_file() -> Path:
    """It need not be there, unless it was named."""
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named and not Path(named).is_file():
        raise Permanent(f"{CONFIG_FILE_VARIABLE} names {named}, expected a TOML file")
    return Path(named or "dicom-node.toml").absolute()


def secrets_folder() -> Path | None:
    named = os.environ.get(SECRETS_FOLDER_VARIABLE)
    if named and not Path(named).is_dir():
        raise Permanent(f"{SECRETS_FOLDER_VARIABLE} names {named}, expected a folder")
    return Path(named) if named else None


def origin() -> str:
    """Which file was read, as a clause: most surprises are another file's, or none's."""
    file = config_file()
    return f"settings were read from {file}" if file.is_file() else f"there is no settings file at {file}"


def require_known(settings: Collection[str]) -> None:
    """Raise Permanent for a variable or a secret file of this program that names no setting: it would do nothing."""
    for what, name, setting in (*_variables(), *_secret_files()):
        if setting not in settings:
            raise Permanent(f"{what} {name} names no setting{did_you_mean(setting, settings)}")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a sentence about a name that is not known; empty if none is near."""
    return "".join(f": did you mean {near}?" for near in get_close_matches(name, known, n=1))


def _variables() -> Iterator[tuple[str, str, str]]:
    """One that is empty counts as none."""
    for name, value in os.environ.items():
        if value and name.upper().startswith(PREFIX) and name.upper() not in _NO_SETTINGS:
            yield "variable", name, _setting(name).partition("__")[0]


def _secret_files() -> Iterator[tuple[str, str, str]]:
    """What has a dot is still being made (`.new`), or Kubernetes' own."""
    folder = secrets_folder()
    try:
        files = sorted(folder.iterdir()) if folder else []
    except OSError as error:
        what = f"{SECRETS_FOLDER_VARIABLE} names {folder}"
        raise Permanent(f"{what}, which cannot be listed: {error.strerror}") from error
    for file in files:
        if file.name.upper().startswith(PREFIX) and "." not in file.name:
            yield "secret file", str(file), _setting(file.name)


def _setting(name: str) -> str:
    return name[len(PREFIX) :].lower()
