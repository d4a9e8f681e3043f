"""The guides for administrators, taken apart: what they let be typed, be written, and quote of the node."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAMES = (
    "README.md",
    "connect-pacs.md",
    "connect-ris.md",
    "agreement.md",
    "runbook.md",
    "security.md",
    "kubernetes.md",
)
GUIDES = (ROOT / "README.md", *(ROOT / "deploy" / name for name in _NAMES))
_PACKAGES = ("dicom_node", "workers", "integration")
_COMPOSE = ["docker", "compose"]


def named(guide: Path) -> str:
    """For the ids of tests."""
    return str(guide.relative_to(ROOT))


def fenced(guide: Path, language: str) -> list[str]:
    """The blocks between fences of this language: ```sh is typed, ```toml and ```json are files."""
    text = guide.read_text(encoding="utf-8")
    return [block.group(1) for block in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(guide: Path) -> list[list[str]]:
    """The words of each line that a guide lets be typed in a shell."""
    lines = (line for block in fenced(guide, "sh") for line in block.splitlines())
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def compose_commands(guide: Path) -> list[list[str]]:
    return [words[2:] for words in commands(guide) if words[:2] == _COMPOSE]


def node_commands(guide: Path) -> list[list[str]]:
    """The arguments of each `dicom-node`, also of one that runs in a container that runs already."""
    return [words[words.index("dicom-node") + 1 :] for words in commands(guide) if "dicom-node" in words]


def quotes(guide: Path) -> list[str]:
    """What stands in “ ”: words of the node, with … for what differs."""
    return [quote for quote in re.findall(r"“([^”]+)”", guide.read_text(encoding="utf-8")) if quote.strip()]


def sentences_of_the_code() -> list[str]:
    """Every text in the packages' code, with … for what an f-string fills in."""
    files = [file for package in _PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [text for file in files for text in _texts(ast.parse(file.read_text(encoding="utf-8")))]


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
