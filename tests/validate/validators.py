"""The independent validators of ../shared/tools/validate_sr, each run over many files, and what it says of each."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from report_samples import SHARED

_TOOLS = SHARED / "tools" / "validate_sr"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
_HOME = Path(os.environ.get("VALIDATE_SR_HOME", _CACHE / "validate_sr"))  # as its setup.sh says
_PYTHON = _HOME / "venv" / "bin" / "python"
_JAR = Path("/usr/share/java/pixelmed.jar")
_JAVA = Path(__file__).with_name("PixelMed.java")
# Without these the JDK stops its XSLT (JAXP0801003).
_UNLIMITED = [f"-Djdk.xml.xpath{each}Limit=0" for each in ("TotalOp", "ExprOp", "ExprGrp")]
_COMPLETED = ("IOD validation complete", "Root Template Validation Complete")  # what PixelMed says at the end
_PROGRAMS = ("dciodvfy", "dsrdump", "dcmpschk", "java", "javac")


@dataclass(frozen=True)
class Message:
    """What a validator has against a file."""

    tool: str
    severity: str  # E or W
    words: str
    file: Path

    @property
    def name(self) -> str:
        """The words without what differs from file to file: UIDs, numbers of items, values."""
        words = re.sub(r"\d+(\.\d+){3,}", "UID", re.sub(r"\[\d+\]", "", self.words))
        return re.sub(r" = <.*?>| : \[.*\]", "", words)


def missing() -> list[str]:
    """What of the validators is not here."""
    programs = [each for each in _PROGRAMS if not shutil.which(each)]
    return programs + [str(each) for each in (_TOOLS / "validate_sr.sh", _PYTHON, _JAR) if not each.exists()]


def check_with_dciodvfy(files: Sequence[Path]) -> list[Message]:
    return _each("dciodvfy", ["dciodvfy", "-new"], files, {"Error - ": "E", "Warning - ": "W"})


def check_with_dsrdump(files: Sequence[Path]) -> list[Message]:
    """Strict: without the options that forgive."""
    return _each("dsrdump", ["dsrdump"], files, {"E: ": "E", "F: ": "E", "W: ": "W"})


def check_with_dcmpschk(files: Sequence[Path]) -> list[Message]:
    """It tells a fault over several lines, the value among them, and ends it with an empty one."""
    found = []
    for file in files:
        lines = [words for _, words in _marked(_said(["dcmpschk", file]), {"E:": "E", "F:": "E", "W:": "W"})]
        faults = " ".join(line or "\n" for line in lines if not line.startswith("Test")).split("\n")
        severity = "W" if "Test passed." in lines else "E"
        words = list(filter(None, map(str.strip, faults))) or ["it did not say that it passed"] * (severity == "E")
        found += [Message("dcmpschk", severity, re.sub("^Error: ", "", each), file) for each in words]
    return found


def check_with_dicom_validator(files: Sequence[Path]) -> list[Message]:
    command = [_PYTHON, "-m", "dicom_validator.validate_iods", "-src", _HOME / "dicom_json", "-e", "local", *files]
    found = []
    for file, lines in _by_file(_said(command), "Validating DICOM file ", files):
        words = list(_complaints(lines))
        if not any(line.startswith("SOP class is") for line in lines):
            words.append("SOP class not recognised")
        found += [Message("dicom-validator", "E", each, file) for each in words]
    return found


def check_with_pixelmed(files: Sequence[Path]) -> list[Message]:
    """On copies, in which the headings have the codes that it knows."""
    copies = [file.with_suffix(".mapped") for file in files]
    for file, copy in zip(files, copies, strict=True):
        subprocess.run([_PYTHON, _TOOLS / "map_headings.py", file, copy], check=True, capture_output=True)
    said = _said(["java", *_UNLIMITED, "-cp", _JAR, _JAVA, *copies])
    found = []
    for copy, lines in _by_file(said, "File: ", copies):
        words = [("E", f"it did not say: {each}") for each in _COMPLETED if not any(each in line for line in lines)]
        marks = {"Error: ": "E", "Warning: ": "W"}
        found += [Message("pixelmed", *each, copy.with_suffix(".dcm")) for each in (*words, *_marked(lines, marks))]
    return found


def _each(tool: str, command: list[str], files: Sequence[Path], marks: Mapping[str, str]) -> list[Message]:
    """A process for each file. Also an error: a bad status without a word."""

    def check(file: Path) -> list[Message]:
        done = subprocess.run([*command, file], capture_output=True, check=False, timeout=120)
        lines = (done.stdout + b"\n" + done.stderr).decode(errors="replace").splitlines()
        words = list(_marked(lines, marks))
        if done.returncode and not any(severity == "E" for severity, _ in words):
            words.append(("E", f"exit status {done.returncode}"))
        return [Message(tool, *each, file) for each in words]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [message for found in pool.map(check, files) for message in found]


def _marked(lines: Iterable[str], marks: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        for mark, severity in marks.items():
            if line.startswith(mark):
                yield severity, line.removeprefix(mark).strip()


def _said(command: Sequence[str | Path]) -> list[str]:
    """What it prints; its status is the number of errors, or nothing."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=3_600)
    return done.stdout.decode(errors="replace").splitlines()


def _by_file(lines: Iterable[str], title: str, files: Sequence[Path]) -> Iterator[tuple[Path, list[str]]]:
    """The lines that follow the title of each file. A file of which nothing was said has none."""
    said: dict[str, list[str]] = {str(file): [] for file in files}
    current: list[str] = []
    for line in lines:
        if line.startswith(title):
            current = said[line.removeprefix(title).strip()]
        else:
            current.append(line)
    yield from ((Path(file), its) for file, its in said.items())


def _complaints(lines: Iterable[str]) -> Iterator[str]:
    """What dicom-validator writes over several lines: the module, the sequences around it, the tag, what of it."""
    module = around = ""
    for line in lines:
        words = line.strip()
        if line.startswith("Module "):
            module, around = words.rstrip(":"), ""
        elif line.startswith("(") and words.endswith(":"):
            around = words
        elif words.startswith("Tag "):
            around = "" if line.startswith("Tag ") else around
            yield " ".join(filter(None, (module, around, words)))
        elif words and not re.match(r"SOP class is|Errors$|=+$|Using DICOM edition", words):
            yield words
