"""The published numbers, and presets from a file."""

from pathlib import Path

import pytest

from dicom_node.errors import Permanent
from workers.training.preset import LLAVA_RAD, PHANTOM, read_preset


def test_the_defaults_are_the_papers() -> None:
    alignment, tuning, lora = LLAVA_RAD.alignment, LLAVA_RAD.tuning, LLAVA_RAD.lora

    assert (alignment.epochs, alignment.batch, alignment.learning_rate, alignment.warm_up) == (1, 256, 1e-3, 0.03)
    assert (tuning.epochs, tuning.batch, tuning.learning_rate, tuning.warm_up) == (3, 64, 1e-4, 0.03)
    assert alignment.weight_decay == tuning.weight_decay == 0
    assert (lora.rank, lora.alpha, lora.dropout) == (64, 128, 0.05)
    assert LLAVA_RAD.max_positions == 2_048
    assert (LLAVA_RAD.text.embedding_size, LLAVA_RAD.text.max_tokens) == (512, 256)
    assert LLAVA_RAD.model.image_tokens == 1_369
    assert LLAVA_RAD.language is None


def test_a_preset_is_found_by_name_or_read_from_a_file(tmp_path: Path) -> None:
    changed = PHANTOM.model_copy(update={"held_out": 8})
    (tmp_path / "mine.json").write_text(changed.model_dump_json(), encoding="utf-8")

    assert read_preset("phantom") is PHANTOM
    assert read_preset("llava-rad") is LLAVA_RAD
    assert read_preset(str(tmp_path / "mine.json")) == changed


@pytest.mark.parametrize(("content", "words"), [("{}", "model: Field required"), ('{"modle": 1}', "model")])
def test_a_bad_file_is_refused_by_its_field(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "mine.json").write_text(content, encoding="utf-8")

    with pytest.raises(Permanent, match=words):
        read_preset(str(tmp_path / "mine.json"))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(Permanent, match="expected llava-rad or phantom, or a JSON file"):
        read_preset("vicuna")
