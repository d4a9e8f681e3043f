"""hl7apy, strict, on messages of ours."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from validators import Message

_LONGEST_ST = 199  # it takes every OBX-5 for an ST, whatever OBX-2 says
_SEVERITIES = {"Error": "E", "Warning": "W"}


def check_with_hl7apy(files: Sequence[Path]) -> list[Message]:
    return [Message("hl7apy", severity, words, file) for file in files for severity, words in _complaints(file)]


def _complaints(file: Path) -> list[tuple[str, str]]:
    """Texts are cut first, to what it thinks is their longest."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        try:
            message = parse_message(_cut(file.read_bytes().decode()), validation_level=VALIDATION_LEVEL.STRICT)
            message.validate(report_file=str(said))
        except HL7apyException as error:
            if not said.exists():  # it stopped before it could say more
                return [("E", type(error).__name__)]
        marked = [line.partition(": ") for line in said.read_text().splitlines()]
    return [(_SEVERITIES[mark], words) for mark, _, words in marked if mark in _SEVERITIES]


def _cut(text: str) -> str:
    segments = [segment.split("|") for segment in text.split("\r")]
    for segment in segments:
        if segment[0] == "OBX" and segment[2] != "ST":
            segment[5] = segment[5][:_LONGEST_ST]
    return "\r".join("|".join(segment) for segment in segments)
