"""The published JSON files must describe the model that is to be made of the weights beside them."""

import json
from pathlib import Path

from dicom_node.errors import BadCheckpoint
from workers.llavarad.config import ModelConfig
from workers.llavarad.lora import TARGETS

Facts = dict[str, object]
_TOWER = "vit_base_patch14_dinov2"


def check_model(path: Path, config: ModelConfig) -> None:
    """config.json of LLaVA-Rad. Raises BadCheckpoint naming the field that differs."""
    found = _read(path)
    _require(path, found, _model_facts(config))
    # transformers 4.31 wrote these or took the same values for granted.
    language = config.language
    usual: Facts = {"rope_theta": language.rope_theta, "num_key_value_heads": language.key_value_heads}
    usual |= {"rope_scaling": None, "tie_word_embeddings": False, "hidden_act": "silu"}
    _require(path, usual | found, usual)


def check_adapter(path: Path, *, rank: int, alpha: int) -> None:
    """adapter_config.json. Raises BadCheckpoint naming the field that differs."""
    found = _read(path)
    _require(path, found, {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none"})
    usual: Facts = {"fan_in_fan_out": False, "modules_to_save": None, "use_rslora": False, "use_dora": False}
    _require(path, usual | found, usual)
    targets = found.get("target_modules")
    if not isinstance(targets, list) or set(map(str, targets)) != set(TARGETS):
        raise BadCheckpoint(f"{path.name}: target_modules = {targets}, expected {', '.join(TARGETS)}")


def check_tower(path: Path, config: ModelConfig) -> None:
    """open_clip's description of the tower. Raises BadCheckpoint naming the field that differs."""
    vision = _read(path).get("vision_cfg")
    if not isinstance(vision, dict):
        raise BadCheckpoint(f"{path.name}: vision_cfg is missing")
    name = str(vision.get("timm_model_name")).split(".")[0]
    expected: Facts = {"timm_model_name": _TOWER, "image_size": config.image_size_px}
    _require(path, vision | {"timm_model_name": name}, expected)


def _model_facts(config: ModelConfig) -> Facts:
    language = config.language
    return {
        "model_type": "llava",
        "mm_projector_type": config.projector,
        "mm_hidden_size": config.vision.hidden_size,
        "mm_vision_select_layer": config.feature_layer,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "square",
        "vocab_size": language.vocab_size,
        "hidden_size": language.hidden_size,
        "intermediate_size": language.intermediate_size,
        "num_hidden_layers": language.layers,
        "num_attention_heads": language.heads,
        "rms_norm_eps": language.rms_norm_eps,
        "max_position_embeddings": language.max_positions,
        "bos_token_id": language.bos_id,
        "eos_token_id": language.eos_id,
        "pad_token_id": language.pad_id,
    }


def _read(path: Path) -> Facts:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadCheckpoint(f"{path.name} is not JSON") from error
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{path.name} is not a table")
    return found


def _require(path: Path, found: Facts, expected: Facts) -> None:
    for name, value in expected.items():
        if name not in found:
            raise BadCheckpoint(f"{path.name}: {name} is missing, expected {value}")
        if found[name] != value:
            raise BadCheckpoint(f"{path.name}: {name} = {found[name]}, expected {value}")
