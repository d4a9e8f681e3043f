"""What is wrong with published files is one sentence that names it, and leaves nothing behind."""

import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from published_layout import BASE, OWN, SHARDS, TINY, Weights, change_pickle, sentencepiece_model, write_published

from dicom_node.errors import BadCheckpoint, NodeError, Permanent
from workers.llavarad import edition
from workers.llavarad.checkpoint import build_empty, expected_shapes
from workers.llavarad.edition import LLAVA_RAD, Edition, PublishedFile
from workers.llavarad.lora import adapter_shapes
from workers.llavarad.published import import_published

NORM = "model.norm.weight"
LORA = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
PROJECTOR = "base_model.model.model.mm_projector.2.bias"
QKV = "module.visual.trunk.blocks.1.attn.qkv.weight"
SHARD = SHARDS[1]
Change = Callable[[Weights], object]


@pytest.fixture(scope="module")
def _published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("published") / "source"
    write_published(made)
    return made


@pytest.fixture
def source(_published: Path, tmp_path: Path) -> Path:
    shutil.copytree(_published, tmp_path / "source")
    return tmp_path / "source"


def refusal(source: Path, published: Edition = TINY, kind: type[NodeError] = BadCheckpoint) -> str:
    """What the importer says; it must be one line and leave nothing."""
    (source.parent / "models").mkdir(exist_ok=True)
    with pytest.raises(kind) as caught:
        import_published(source, source.parent / "models" / "llava-rad", edition=published)
    assert list((source.parent / "models").iterdir()) == []
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def cut(name: str) -> Change:
    return lambda weights: weights.update({name: weights[name][:-1].clone()})


def put(name: str, value: object) -> Change:
    return lambda weights: weights.update({name: value})  # type: ignore[dict-item]


def drop(name: str) -> Change:
    return lambda weights: weights.pop(name)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (f"{BASE}/{SHARD}", drop(NORM), f"{BASE}: tensor {NORM} is missing, expected (64,)"),
        (f"{BASE}/{SHARD}", cut(NORM), f"{BASE}: tensor {NORM} is (63,), expected (64,)"),
        (f"{BASE}/{SHARD}", put("model.extra", torch.ones(1)), f"{BASE}: tensor model.extra is unexpected"),
        (f"{BASE}/{SHARD}", put("model.embed_tokens.weight", torch.ones(1)), "embed_tokens.weight is in an earlier"),
        (f"{BASE}/{SHARD}", put(NORM, torch.full((64,), 1e9)), f"{NORM} holds what is no number in float16"),
        (f"{BASE}/{SHARD}", put(NORM, torch.ones(64, dtype=torch.int64)), f"{NORM} is torch.int64, expected floating"),
        (f"{BASE}/{SHARD}", put(NORM, [1.0]), f"{SHARD}: {NORM} is list, expected a tensor"),
        (f"{OWN}/{edition.ADAPTER_FILE}", drop(LORA), f"adapter_model.bin: tensor {LORA} is missing"),
        (f"{OWN}/{edition.ADAPTER_FILE}", cut(LORA), f"tensor {LORA} is (111, 4), expected (112, 4)"),
        (f"{OWN}/{edition.ADAPTER_FILE}", put("lora_C", torch.ones(1)), "adapter_model.bin: tensor lora_C is unexp"),
        (f"{OWN}/{edition.PROJECTOR_FILE}", drop(PROJECTOR), f"trainables.bin: tensor {PROJECTOR} is missing"),
        (f"{OWN}/{edition.PROJECTOR_FILE}", cut(PROJECTOR), f"tensor {PROJECTOR} is (63,), expected (64,)"),
        (f"{OWN}/{edition.TOWER_FILE}", drop(QKV), "tensor blocks.1.attn.qkv.weight is missing, expected (144, 48)"),
        (f"{OWN}/{edition.TOWER_FILE}", cut(QKV), "tensor blocks.1.attn.qkv.weight is (143, 48), expected (144, 48)"),
        (f"{OWN}/{edition.TOWER_FILE}", put("module.visual.trunk.registers", torch.ones(1)), "registers is unexpected"),
        (f"{OWN}/{edition.TOWER_FILE}", put("module.visual.class", torch.ones(1)), "visual.class is unexpected"),
        (f"{OWN}/{edition.TOWER_FILE}", lambda state: state.clear(), "state_dict is not a table of tensors"),
    ],
)
def test_wrong_tensor_is_named(source: Path, file: str, change: Change, words: str) -> None:
    change_pickle(source / file, change)
    assert words in refusal(source)


@pytest.mark.parametrize("repo", [TINY.own, TINY.base])
def test_missing_file_is_named(source: Path, repo: edition.Repository) -> None:
    for name in [file.name for file in repo.files]:
        (source / repo.folder / name).rename(source / "aside")
        assert f"{repo.folder}/{name} is missing" in refusal(source)
        (source / "aside").rename(source / repo.folder / name)


def test_source_that_is_no_folder_says_what_to_do(tmp_path: Path) -> None:
    assert "`dicom-node model download` fetches it" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "field", "value", "words"),
    [
        ("config.json", "hidden_size", 128, "config.json: hidden_size = 128, expected 64"),
        ("config.json", "model_type", "llama", "config.json: model_type = llama, expected llava"),
        ("config.json", "mm_vision_select_layer", -1, "mm_vision_select_layer = -1, expected -2"),
        ("config.json", "image_aspect_ratio", "pad", "image_aspect_ratio = pad, expected square"),
        ("config.json", "rope_theta", 5e5, "rope_theta = 500000.0, expected 10000.0"),
        ("config.json", "mm_hidden_size", None, "config.json: mm_hidden_size is missing, expected 48"),
        ("adapter_config.json", "r", 8, "adapter_config.json: r = 8, expected 4"),
        ("adapter_config.json", "lora_alpha", 16, "lora_alpha = 16, expected 8"),
        ("adapter_config.json", "use_rslora", True, "use_rslora = True, expected False"),
        ("adapter_config.json", "target_modules", ["q_proj"], "target_modules = ['q_proj'], expected q_proj, k_proj"),
        ("biomedclipcxr_518.json", "vision_cfg", None, "vision_cfg is missing"),
        ("biomedclipcxr_518.json", "vision_cfg", {"timm_model_name": "vit_l"}, "timm_model_name = vit_l, expected vit"),
    ],
)
def test_wrong_field_is_named(source: Path, file: str, field: str, value: object, words: str) -> None:
    content = json.loads((source / OWN / file).read_text())
    content[field] = value
    if value is None:
        del content[field]
    (source / OWN / file).write_text(json.dumps(content))
    assert words in refusal(source)


@pytest.mark.parametrize(("content", "words"), [("{", "config.json is not JSON"), ("[]", "config.json is not a table")])
def test_json_of_another_kind_is_named(source: Path, content: str, words: str) -> None:
    (source / OWN / "config.json").write_text(content)
    assert words in refusal(source)


class Hostile:
    """A pickle that would make a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._path),)


def save_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_plain(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [save_zip, save_legacy, save_plain])
@pytest.mark.parametrize(
    "file", [f"{BASE}/{SHARD}", *(f"{OWN}/{n}" for n in (edition.ADAPTER_FILE, edition.TOWER_FILE))]
)
def test_pickle_that_runs_code_is_refused_unrun(source: Path, file: str, save: Callable[[object, Path], None]) -> None:
    trap = source.parent / "trap"
    save({"optimizer": Hostile(trap), "state_dict": {"x": torch.ones(1)}}, source / file)

    words = refusal(source)

    assert f"{Path(file).name} is refused: it names posix.mkdir, which is not data; nothing of it was run" in words
    assert not trap.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("is_legacy", [False, True])
def test_truncated_pickle_is_named(source: Path, share: float, is_legacy: bool) -> None:
    path = source / BASE / SHARD
    (save_legacy if is_legacy else save_zip)(torch.load(path), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert f"{SHARD} is damaged or no file of PyTorch" in refusal(source)


def test_pointer_of_git_lfs_is_no_pickle(source: Path) -> None:
    (source / BASE / SHARD).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert f"{SHARD} is damaged or no file of PyTorch" in refusal(source)


def with_file(published: Edition, changed: PublishedFile) -> Edition:
    files = tuple(changed if file.name == changed.name else file for file in published.base.files)
    return replace(published, base=replace(published.base, files=files))


def test_size_and_digest_of_the_edition_are_checked(source: Path) -> None:
    size, found = (source / BASE / SHARD).stat().st_size, edition.digest(source / BASE / SHARD)

    assert f"{SHARD} has {size} bytes, expected 9" in refusal(source, with_file(TINY, PublishedFile(SHARD, 9)))
    words = refusal(source, with_file(TINY, PublishedFile(SHARD, size, "0" * 64)))
    assert f"{BASE}/{SHARD} is sha256 {found[:12]}…, expected 000000000000…" in words
    import_published(source, source.parent / "m", edition=with_file(TINY, PublishedFile(SHARD, size, found)))


def test_sums_beside_the_files_are_checked(source: Path) -> None:
    digests = {path: edition.digest(path) for path in source.glob("*/*")}
    lines = [f"{found}  {path.relative_to(source)}" for path, found in digests.items()]
    (source / "SHA256SUMS").write_text("\n".join(lines))
    import_published(source, source.parent / "m", edition=TINY)

    (source / OWN / "LICENSE").write_text("You may do anything.")
    assert f"{OWN}/LICENSE is sha256" in refusal(source)
    (source / "SHA256SUMS").write_text("\n".join(line.replace("  ", " *./") for line in lines))
    assert f"{OWN}/LICENSE is sha256" in refusal(source)

    (source / "SHA256SUMS").write_text("nonsense")
    assert "SHA256SUMS is damaged" in refusal(source)


def test_published_edition_has_the_published_counts() -> None:
    shapes = expected_shapes(build_empty(LLAVA_RAD.config))
    language = {n.removeprefix("language_model."): s for n, s in shapes.items() if n.startswith("language_model.")}
    adapter = adapter_shapes(language, LLAVA_RAD.lora_rank)
    assert len(adapter) == 448
    assert sum(rows * columns for rows, columns in adapter.values()) == 159_907_840
    assert LLAVA_RAD.lora_alpha / LLAVA_RAD.lora_rank == 2.0
    assert LLAVA_RAD.config.licence == "research-only"


def test_published_files_have_the_published_sizes() -> None:
    sizes = [file.size_bytes for repo in (LLAVA_RAD.own, LLAVA_RAD.base) for file in repo.files if file.size_bytes]
    assert len(sizes) == 9
    assert sum(sizes) == 16_200_342_670


def test_existing_folder_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "models" / "precious").mkdir(parents=True)
    with pytest.raises(Permanent, match="precious is there already"):
        import_published(source, tmp_path / "models" / "precious", edition=TINY)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "tokenizer.model is not Llama's"),
        (b"\xff\xff", "tokenizer.model is damaged or no SentencePiece model"),
        (b'{"version": "1.0"}', "tokenizer.model is damaged or no SentencePiece model"),
    ],
)
def test_file_that_is_no_tokenizer_is_named(source: Path, content: bytes, words: str) -> None:
    (source / BASE / "tokenizer.model").write_bytes(content)
    assert words in refusal(source)


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "unigram"},
        {"byte_fallback": False},
        {"remove_extra_whitespaces": True},
        {"add_dummy_prefix": False},
        {"normalization_rule_name": "nmt_nfkc"},
        {"user_defined_symbols": ["<image>"]},
    ],
)
def test_tokenizer_that_works_otherwise_is_refused(source: Path, options: dict[str, object]) -> None:
    (source / BASE / "tokenizer.model").write_bytes(sentencepiece_model(**options))
    assert "tokenizer.model is not Llama's" in refusal(source)


def test_tokenizer_of_another_size_is_refused(source: Path) -> None:
    (source / BASE / "tokenizer.model").write_bytes(sentencepiece_model(vocab_size=400))
    assert "tokenizer.model has 400 tokens, expected 420" in refusal(source)


# In a process of its own, since what it limits cannot be lifted again.
_IMPORT = (
    "import sys; from pathlib import Path; from published_layout import TINY; "
    "from workers.llavarad.published import import_published; "
    "import_published(Path(sys.argv[1]), Path(sys.argv[2]), edition=TINY)"
)


def run_import(source: Path, dest: Path, *, prefix: tuple[str, ...] = (), largest_file: int | None = None) -> str:
    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    ended = subprocess.run(
        [*prefix, sys.executable, "-c", _IMPORT, str(source), str(dest)],
        env=os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.stderr.strip().splitlines()[-1]


def test_write_that_fails_in_the_middle_is_one_line_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    last_line = run_import(source, tmp_path / "models" / "m", largest_file=100_000)
    assert "StorageFull" in last_line
    assert "models/m cannot be written: " in last_line
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    "name", [f"{OWN}/config.json", f"{OWN}/LICENSE", f"{BASE}/{SHARD}", f"{BASE}/tokenizer.model", OWN]
)
def test_what_may_not_be_read_is_named(source: Path, tmp_path: Path, name: str) -> None:
    # Root reads all; without this right of root's, no file that says so.
    obeys = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    (tmp_path / "models").mkdir()
    (source / name).chmod(0)

    last_line = run_import(source, tmp_path / "models" / "m", prefix=obeys)

    (source / name).chmod(0o700)
    assert "StorageAway" in last_line
    assert re.search(rf"source/{re.escape(name)}\S* cannot be read: Permission denied", last_line)
    assert list((tmp_path / "models").iterdir()) == []


def test_missing_file_is_told_where_the_disk_has_no_room_either(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    (source / OWN / "config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"config\.json is missing"):
        import_published(source, tmp_path / "m", edition=TINY)


def in_small_disk(disk: Path, *, size: str) -> tuple[str, ...]:
    """The beginning of a command that sees `disk` as a file system of this size; what is in it afterwards is listed."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed: a full disk cannot be made")
    mounted = ("unshare", "--mount", "--map-root-user", "sh", "-c")
    attempt = f'mount -t tmpfs -o size={size} none {disk} && "$@"; ls -A {disk} > {disk.parent}/left'
    if subprocess.run([*mounted, f"mount -t tmpfs none {disk}"], capture_output=True, check=False).returncode:
        pytest.skip("not allowed to mount: a full disk cannot be made")
    return (*mounted, attempt, "sh")


@pytest.mark.parametrize(
    ("size", "words"), [("300k", "bytes, [0-9]+ are free there"), ("440k", "No space left on device")]
)
def test_full_disk_is_one_line_and_leaves_nothing(source: Path, tmp_path: Path, size: str, words: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    last_line = run_import(source, disk / "m", prefix=in_small_disk(disk, size=size))
    assert "StorageFull" in last_line
    assert re.search(words, last_line)
    assert (tmp_path / "left").read_text() == ""
