"""What was published as LLaVA-Rad: two repositories of the Hugging Face hub, pinned, and the model their files make.

Source of revisions and sizes: spec/llava_rad.md, section 2. A size or digest that is not known is not checked.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dicom_node.errors import BadCheckpoint
from workers.llavarad.config import ModelConfig
from workers.llavarad.notice import LICENCE_FILE

CONFIG_FILE, ADAPTER_CONFIG_FILE, TOWER_CONFIG_FILE = "config.json", "adapter_config.json", "biomedclipcxr_518.json"
ADAPTER_FILE, PROJECTOR_FILE = "adapter_model.bin", "non_lora_trainables.bin"
TOWER_FILE, TOKENIZER_FILE = "biomedclipcxr_518_checkpoint.pt", "tokenizer.model"
# As `sha256sum` writes it; `dicom-node model download` leaves one, and an operator can make one.
SUMS_FILE = "SHA256SUMS"


@dataclass(frozen=True)
class PublishedFile:
    """A file the importer reads."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Repository:
    """One repository of the hub and the sub-folder its files lie in."""

    hub_id: str
    revision: str
    files: tuple[PublishedFile, ...]

    @property
    def folder(self) -> str:
        return PurePosixPath(self.hub_id).name


@dataclass(frozen=True)
class Edition:
    """One published model: its own files, those of the language model it adapts, and what they must contain."""

    config: ModelConfig
    lora_rank: int
    lora_alpha: int
    own: Repository
    base: Repository

    @property
    def held(self) -> list[tuple[Repository, PublishedFile]]:
        """Every file, with the repository that holds it."""
        return [(repo, file) for repo in (self.own, self.base) for file in repo.files]

    def own_file(self, source: Path, name: str) -> Path:
        return source / self.own.folder / name

    def base_file(self, source: Path, name: str) -> Path:
        return source / self.base.folder / name

    def base_shards(self, source: Path) -> list[Path]:
        return [self.base_file(source, file.name) for file in self.base.files if file.name.endswith(".bin")]


_LLAVA_RAD_REVISION = "dcdbc6caf6806c9acb66e12a827a39c86e00f6a7"
LLAVA_RAD = Edition(
    config=ModelConfig(name="LLaVA-Rad", version=f"hub {_LLAVA_RAD_REVISION[:12]}", licence="research-only"),
    lora_rank=64,
    lora_alpha=128,
    own=Repository(
        "microsoft/llava-rad",
        _LLAVA_RAD_REVISION,
        (
            PublishedFile(CONFIG_FILE, 1_202),
            PublishedFile(ADAPTER_CONFIG_FILE, 521),
            PublishedFile(TOWER_CONFIG_FILE, 546),
            PublishedFile(LICENCE_FILE),
            PublishedFile(ADAPTER_FILE, 319_971_402),
            PublishedFile(PROJECTOR_FILE, 39_864_496),
            PublishedFile(TOWER_FILE, 2_363_054_683),
        ),
    ),
    base=Repository(
        "lmsys/vicuna-7b-v1.5",
        "3321f76e3f527bd14065daf69dad9344000a201d",
        (
            PublishedFile(TOKENIZER_FILE, 499_723, "9e556afd44213b6bd1be2b850ebbbd98f5481437a8021afaf58ee7fb1818d347"),
            PublishedFile("pytorch_model-00001-of-00002.bin", 9_976_634_558),
            PublishedFile("pytorch_model-00002-of-00002.bin", 3_500_315_539),
        ),
    ),
)


def check_present(source: Path, edition: Edition) -> None:
    """Raises BadCheckpoint naming the first file that is missing or has not the published size."""
    for repo, file in edition.held:
        _check_size(source, repo, file)


def check_digests(source: Path, edition: Edition) -> None:
    """Raises BadCheckpoint naming the first file that is not the published one. Reads all of them: minutes."""
    sums = _read_sums(source / SUMS_FILE)
    for repo, file in edition.held:
        path = f"{repo.folder}/{file.name}"
        for expected in (file.sha256, sums.get(path)):
            _check_digest(source / path, expected)


def digest(path: Path) -> str:
    """The file's sha256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_size(source: Path, repo: Repository, file: PublishedFile) -> None:
    path = source / repo.folder / file.name
    if not path.is_file():
        raise BadCheckpoint(
            f"{repo.folder}/{file.name} is missing in {source}: `dicom-node model download` fetches it, "
            f"or copy it from {repo.hub_id} at {repo.revision[:12]}"
        )
    size = path.stat().st_size
    if file.size_bytes not in (None, size):
        raise BadCheckpoint(f"{repo.folder}/{file.name} has {size} bytes, expected {file.size_bytes}")


def _check_digest(path: Path, expected: str | None) -> None:
    if expected is None:
        return
    found = digest(path)
    if found != expected.lower():
        raise BadCheckpoint(f"{path.parent.name}/{path.name} is sha256 {found[:12]}…, expected {expected[:12]}…")


def _read_sums(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = [line.split(maxsplit=1) for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    if any(len(line) != 2 for line in lines):
        raise BadCheckpoint(f"{SUMS_FILE} is damaged: expected lines of a sha256 and a path")
    # "./llava-rad/config.json", as `find` lists it, is the same file.
    return {PurePosixPath(name.lstrip("*")).as_posix(): found for found, name in lines}
