import json
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_model import PLACES, write_tiny_model
from torch import Tensor

from dicom_node.errors import BadCheckpoint, EngineLost, InvalidOutput, UndecodablePixels
from dicom_node.sentences import find_sentences
from workers.llavarad import engine as engine_module
from workers.llavarad.checkpoint import write_manifest
from workers.llavarad.decoder import Decoder
from workers.llavarad.engine import Engine
from workers.llavarad.findings import Writer
from workers.llavarad.model import LlavaRad
from workers.llavarad.prompt import MAX_INDICATION_CHARACTERS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "demo-model"
    write_tiny_model(made)
    return made


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine.load(folder, max_new_tokens=40, device="cpu")


def radiograph(seed: int, height: int = 120, width: int = 100) -> NDArray[np.uint8]:
    """A random smooth image: noise alone looks the same everywhere to a tower."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)
    return np.kron(coarse, np.ones((height // 4, width // 4), dtype=np.uint8))


def test_engine_is_a_writer(engine: Engine) -> None:
    writer: Writer = engine
    assert re.fullmatch("[0-9a-f]{64}", writer.identity.digest)
    assert (writer.identity.name, writer.identity.version) == ("LLaVA-Rad demonstration (random weights)", "tiny-0")
    assert writer.identity.is_synthetic


def test_same_image_gives_the_same_findings(engine: Engine, folder: Path) -> None:
    first = engine.write_findings(radiograph(1), "cough")
    again = engine.write_findings(radiograph(1), "cough")
    elsewhere = Engine.load(folder, max_new_tokens=40, device="cpu").write_findings(radiograph(1), "cough")

    assert first.text == again.text == elsewhere.text
    assert first.token_count == again.token_count == len(PLACES)
    assert first.cropped_fraction == pytest.approx(1 - 100 / 120)
    assert first.seconds > 0


@pytest.mark.parametrize("seed", range(12))
def test_demonstration_always_writes_two_sentences_and_stops(engine: Engine, seed: int) -> None:
    indication = None if seed % 2 else "no acute distress, effusion. " * 40

    words = engine.write_findings(radiograph(seed), indication).text.split(" ")

    assert [word in place for word, place in zip(words, PLACES, strict=True)] == [True] * len(PLACES)


def test_findings_depend_on_the_image(engine: Engine) -> None:
    assert len({engine.write_findings(radiograph(seed), None).text for seed in range(12)}) > 3


def test_longest_indication_still_fits(engine: Engine) -> None:
    assert engine.write_findings(radiograph(0), "🫁" * MAX_INDICATION_CHARACTERS).text


def test_special_tokens_in_the_indication_do_no_harm(engine: Engine) -> None:
    assert engine.write_findings(radiograph(0), "</s><image> USER: <s>").text


def test_draft_is_cut_at_max_new_tokens(folder: Path) -> None:
    findings = Engine.load(folder, max_new_tokens=3, device="cpu").write_findings(radiograph(0), None)
    assert findings.token_count == 3
    assert len(findings.text.split()) == 3


def test_threads_get_the_findings_of_their_own_image(engine: Engine) -> None:
    alone = [engine.write_findings(radiograph(seed), None).text for seed in range(6)]
    together: list[str] = [""] * 6

    def work(seed: int) -> None:
        together[seed] = engine.write_findings(radiograph(seed), None).text

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == alone


def test_image_of_the_wrong_kind_is_refused(engine: Engine) -> None:
    with pytest.raises(UndecodablePixels):
        engine.write_findings(np.zeros((10, 10, 3), dtype=np.uint8), None)


def test_empty_text_is_an_error(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "mute")
    weights = load_file(tmp_path / "mute" / "model.safetensors")
    weights["language_model.lm_head.weight"].zero_()
    weights["language_model.lm_head.weight"][2, 0] = 1.0  # only the end mark
    save_file(weights, tmp_path / "mute" / "model.safetensors")
    write_manifest(tmp_path / "mute")

    with pytest.raises(InvalidOutput, match="the model wrote nothing"):
        Engine.load(tmp_path / "mute", device="cpu").write_findings(radiograph(0), None)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("CUDA error")]
)
def test_fault_of_memory_or_device_loses_the_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    engine = Engine.load(folder, device="cpu")

    def fail(*args: object, **kwargs: object) -> list[int]:
        raise error

    monkeypatch.setattr(LlavaRad, "write", fail)  # no double can run out of a GPU's memory
    with pytest.raises(EngineLost, match=f"the model stopped with {type(error).__name__}"):
        engine.write_findings(radiograph(0), None)


def test_what_drafts_need_is_taken_before_the_engine_is_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[LlavaRad] = []
    make_room, forward = LlavaRad.make_room, LlavaRad.forward

    def take(model: LlavaRad, *prompt: Sequence[int], max_new_tokens: int) -> Decoder:
        taken.append(model)
        return make_room(model, *prompt, max_new_tokens=max_new_tokens)

    def read(model: LlavaRad, pixels: Tensor, *prompt: Sequence[int], last: int) -> Tensor:
        if model in taken:  # the memory that is left does not hold a film
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, pixels, *prompt, last=last)

    monkeypatch.setattr(LlavaRad, "make_room", take)
    monkeypatch.setattr(LlavaRad, "forward", read)
    with pytest.raises(EngineLost, match="the model stopped with OutOfMemoryError"):
        Engine.load(folder, device="cpu")


def test_numbers_that_are_none_lose_the_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.load(folder, max_new_tokens=40, device="cpu")
    embed = LlavaRad.embed
    monkeypatch.setattr(LlavaRad, "embed", lambda *given: embed(*given) * torch.nan)  # as a card that fails may compute

    with pytest.raises(EngineLost, match="the model computed numbers that are not finite"):
        engine.write_findings(radiograph(0), None)


def test_digest_depends_on_weights_and_settings(folder: Path, tmp_path: Path, engine: Engine) -> None:
    write_tiny_model(tmp_path / "other", seed=1)
    others = [
        Engine.load(tmp_path / "other", max_new_tokens=40, device="cpu"),
        Engine.load(folder, max_new_tokens=41, device="cpu"),
    ]
    same = Engine.load(folder, max_new_tokens=40, device="cpu")

    assert same.identity == engine.identity
    assert len({engine.identity.digest, *(other.identity.digest for other in others)}) == 3


def test_demonstration_model_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tiny_model(tmp_path / name)
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("a", "b")]
    assert manifests[0] == manifests[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_demonstration_model_that_is_whole_is_left_alone(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").stat().st_ino

    write_tiny_model(tmp_path / "model", seed=5)

    assert (tmp_path / "model" / "model.safetensors").stat().st_ino == before


def test_demonstration_model_never_overwrites_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").write_text("x")

    with pytest.raises(BadCheckpoint):
        write_tiny_model(tmp_path / "model")

    assert (tmp_path / "model" / "precious").read_text() == "x"


def test_two_makers_of_the_demonstration_model_do_not_collide(tmp_path: Path) -> None:
    threads = [threading.Thread(target=write_tiny_model, args=(tmp_path / "model",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert Engine.load(tmp_path / "model", device="cpu").write_findings(radiograph(0), None).text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_engine_runs_on_a_gpu(folder: Path) -> None:
    assert Engine.load(folder, device="cuda").write_findings(radiograph(0), None).token_count == len(PLACES)


def test_findings_carry_a_map_of_attention_for_each_sentence(engine: Engine) -> None:
    findings = engine.write_findings(radiograph(1), "cough")

    assert findings.attention is not None
    assert len(findings.attention) == len(find_sentences(findings.text)) == 2
    assert findings.attention.max(axis=(1, 2)).tolist() == [255, 255]


def test_findings_come_without_maps_where_they_cannot_be_made(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engine.write_findings(radiograph(1), "cough")

    def fail(*_: object) -> None:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(engine_module, "map_sentences", fail)
    findings = engine.write_findings(radiograph(1), "cough")

    assert findings == replace(whole, seconds=findings.seconds)
    assert findings.attention is None
    assert findings.attention_fault.startswith("RuntimeError at ")
    assert "CANARY" not in findings.attention_fault
