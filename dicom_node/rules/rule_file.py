"""The rules in force: those of the file as it last was good."""

import threading
from collections.abc import Collection
from pathlib import Path

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.errors import BadRules
from dicom_node.rules.parsing import parse_rules
from dicom_node.rules.rule import Rule

_log = logs.get("rules")

Rules = tuple[Rule, ...]


def read_rules(path: Path, destinations: Collection[str]) -> Rules:
    """Raises BadRules, naming the file, its line and what was expected."""
    return _parse(path, _content(path), destinations)


class RuleFile:
    """Reads the file anew when its content has changed. For several threads."""

    def __init__(self, path: Path, destinations: Collection[str]) -> None:
        """destinations: the names that the settings know."""
        self.path = path
        self._destinations = destinations
        self._lock = threading.Lock()
        self._content: bytes | None = None
        self._in_force: Rules | None = None
        self._fault = ""

    def in_force(self) -> Rules | None:
        """The rules of the file as it is, or as it last was good; None if it never was since this program began."""
        with self._lock:
            self._look()
            return self._in_force

    @property
    def fault(self) -> str:
        """What is wrong with the file as it was last looked at, as a sentence; empty if nothing."""
        return self._fault

    @property
    def lacks(self) -> str:
        """What keeps a role from its work, as a sentence: no rules are in force."""
        return "" if self._in_force is not None else self._fault

    def _look(self) -> None:
        try:
            content = _content(self.path)
            if content != self._content:
                self._in_force = _parse(self.path, content, self._destinations)
                self._content = content
                _log.info("rules_in_force", count=len(self._in_force))
            self._fault = ""
        except BadRules as error:
            if str(error) != self._fault:
                _log.error("rules_refused", reason=str(error))
            self._fault = str(error)


def rule_file(settings: Settings) -> RuleFile | None:
    """None where the settings name none."""
    return None if settings.rules_file is None else RuleFile(settings.rules_file, settings.destination_names)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRules(f"{path} cannot be read: {error.strerror}") from error


def _parse(path: Path, content: bytes, destinations: Collection[str]) -> Rules:
    try:
        return parse_rules(content.decode("utf-8-sig"), destinations)
    except UnicodeDecodeError as error:
        raise BadRules(f"{path}: byte {error.start + 1} is no UTF-8") from error
    except BadRules as error:
        raise BadRules(f"{path}, {error}") from error
