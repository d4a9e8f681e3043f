"""The inputs that found a way nobody had been before: one archive for each target, synthetic bytes only."""

from collections.abc import Iterable, Iterator
from hashlib import sha1
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from seeds import WORDS, seeds_of

_ARCHIVES = Path(__file__).parent / "corpus"


def kept(target: str) -> Iterator[bytes]:
    archive = _ARCHIVES / f"{target}.zip"
    if archive.exists():
        with ZipFile(archive) as inputs:
            yield from (inputs.read(name) for name in inputs.namelist())


def keep(target: str, inputs: Iterable[bytes]) -> None:
    """The archive is the same for the same inputs."""
    with ZipFile(_ARCHIVES / f"{target}.zip", "w", ZIP_DEFLATED) as archive:
        for name, content in sorted((_name(each), each) for each in inputs):
            archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)


def lay_out(target: str, folder: Path, *, with_published: bool) -> list[str]:
    """Put all there is to begin with where libFuzzer looks. Returns what to tell it."""
    inputs = folder / target
    inputs.mkdir(parents=True, exist_ok=True)
    for each in (*kept(target), *seeds_of(target, with_published=with_published)):
        (inputs / _name(each)).write_bytes(each)
    words = folder / "words"
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
    words.write_text("".join(f'"{line}"\n' for line in lines), encoding="ascii")
    return [str(inputs), f"-dict={words}"]


def _name(content: bytes) -> str:
    return sha1(content, usedforsecurity=False).hexdigest()
