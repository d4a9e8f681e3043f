"""A tiny LLaVA-Rad in the published layout: the same files, names, pickles and dtypes as on the hub, random numbers."""

import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch import Tensor

from workers.llavarad import edition
from workers.llavarad.config import LanguageConfig, ModelConfig, VisionConfig
from workers.llavarad.edition import LLAVA_RAD, Edition, PublishedFile

Weights = dict[str, Tensor]
RANK, ALPHA, VOCAB_SIZE = 4, 8, 420
HIDDEN, INTERMEDIATE, LAYERS, KEY_VALUE = 64, 112, 2, 32
WIDTH, BLOCKS, MLP = 48, 3, 96
SHARDS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
TINY = Edition(
    config=ModelConfig(
        name="LLaVA-Rad",
        version="tiny, as published",
        licence="research-only",
        image_size_px=56,
        vision=VisionConfig(hidden_size=WIDTH, layers=BLOCKS, heads=4, mlp_ratio=2),
        language=LanguageConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=HIDDEN,
            intermediate_size=INTERMEDIATE,
            layers=LAYERS,
            heads=4,
            key_value_heads=2,
        ),
    ),
    lora_rank=RANK,
    lora_alpha=ALPHA,
    own=replace(LLAVA_RAD.own, files=tuple(PublishedFile(file.name) for file in LLAVA_RAD.own.files)),
    base=replace(LLAVA_RAD.base, files=tuple(PublishedFile(file.name) for file in LLAVA_RAD.base.files)),
)
OWN, BASE = TINY.own.folder, TINY.base.folder
SENTENCES = (
    "Both lungs are clear without effusion or pneumothorax. The heart is of normal size. Provide a description of the "
    "findings in the radiology image given the following indication: shortness of breath ASSISTANT: USER:"
)


def write_published(source: Path, *, seed: int = 0, is_legacy: bool = False) -> None:
    """Make source/llava-rad and source/vicuna-7b-v1.5. is_legacy: pickles of torch before 1.6, not zip files."""
    draw = _Draw(seed)
    own, base = source / OWN, source / BASE
    own.mkdir(parents=True)
    base.mkdir()
    save = _saver(is_legacy)
    for shard, weights in zip(SHARDS, _language(draw), strict=True):
        save(weights, base / shard)
    (base / edition.TOKENIZER_FILE).write_bytes(sentencepiece_model())
    save(_adapter(draw), own / edition.ADAPTER_FILE)
    save(_projector(draw), own / edition.PROJECTOR_FILE)
    save(_training_checkpoint(draw), own / edition.TOWER_FILE)
    _write_json(own / edition.CONFIG_FILE, model_facts())
    _write_json(own / edition.ADAPTER_CONFIG_FILE, _adapter_facts())
    tower = {"timm_model_name": "vit_base_patch14_dinov2.lvd142m", "timm_pool": "", "image_size": 56}
    _write_json(own / edition.TOWER_CONFIG_FILE, {"embed_dim": 32, "vision_cfg": tower, "text_cfg": {}})
    (own / "LICENSE").write_text("MSR License Terms (a stand-in)\n")


def change_pickle(path: Path, change: Callable[[Weights], object]) -> None:
    content = torch.load(path, weights_only=False)
    change(content.get("state_dict", content))
    torch.save(content, path)


def model_facts() -> dict[str, object]:
    language = TINY.config.language
    return {
        "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava", "transformers_version": "4.31.0",
        "vocab_size": language.vocab_size, "hidden_size": language.hidden_size, "num_hidden_layers": language.layers,
        "intermediate_size": language.intermediate_size, "num_attention_heads": language.heads,
        "num_key_value_heads": language.key_value_heads, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "hidden_act": "silu", "rope_scaling": None,
        "mm_vision_tower": "biomedclip_cxr_518", "mm_projector_type": "mlp2x_gelu", "mm_hidden_size": WIDTH,
        "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "image_aspect_ratio": "square",
        "mm_use_im_start_end": False, "mm_use_im_patch_token": False, "use_mm_proj": True, "torch_dtype": "float16",
    }  # fmt: skip


def sentencepiece_model(**options: object) -> bytes:
    """A tokenizer.model of Llama's kind, or with other options."""
    words, order, written = SENTENCES.split(), random.Random(0), io.BytesIO()
    usual: dict[str, object] = {"model_type": "bpe", "byte_fallback": True, "vocab_size": VOCAB_SIZE}
    usual |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(order.choices(words, k=9)) for _ in range(300)]),
        model_writer=written,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **(usual | options),
    )
    return written.getvalue()


class _Draw:
    """Random numbers strong enough for a wrong layer or place to show."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, std: float = 0.2) -> Tensor:
        return torch.randn(shape, generator=self._random) * std


def _saver(is_legacy: bool) -> Callable[[object, Path], None]:
    return lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=not is_legacy)


def _linears() -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns of every linear that the adapter covers."""
    rows = {"self_attn.q_proj": HIDDEN, "self_attn.k_proj": KEY_VALUE, "self_attn.v_proj": KEY_VALUE}
    rows |= {"self_attn.o_proj": HIDDEN, "mlp.gate_proj": INTERMEDIATE, "mlp.up_proj": INTERMEDIATE}
    for layer in range(LAYERS):
        yield from ((f"model.layers.{layer}.{name}", count, HIDDEN) for name, count in rows.items())
        yield f"model.layers.{layer}.mlp.down_proj", HIDDEN, INTERMEDIATE


def _language(draw: _Draw) -> tuple[Weights, Weights]:
    weights = {"model.embed_tokens.weight": draw(VOCAB_SIZE, HIDDEN)}
    weights |= {f"{name}.weight": draw(rows, columns) for name, rows, columns in _linears()}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        weights[f"{prefix}.input_layernorm.weight"] = 1 + draw(HIDDEN)
        weights[f"{prefix}.post_attention_layernorm.weight"] = 1 + draw(HIDDEN)
        weights[f"{prefix}.self_attn.rotary_emb.inv_freq"] = draw(8)
    weights |= {"model.norm.weight": 1 + draw(HIDDEN), "lm_head.weight": draw(VOCAB_SIZE, HIDDEN)}
    halves = [
        {name: tensor.half() for name, tensor in weights.items() if is_late(name) is late} for late in (False, True)
    ]
    return halves[0], halves[1]


def is_late(name: str) -> bool:
    """Which tensors lie in the second shard."""
    return ".layers.1." in name or name.startswith(("model.norm", "lm_head"))


def _adapter(draw: _Draw) -> Weights:
    weights = {}
    for name, rows, columns in _linears():
        weights[f"base_model.model.{name}.lora_A.weight"] = draw(RANK, columns).bfloat16()
        weights[f"base_model.model.{name}.lora_B.weight"] = draw(rows, RANK).bfloat16()
    return weights


def _projector(draw: _Draw) -> Weights:
    shapes = {"0.weight": (HIDDEN, WIDTH), "0.bias": (HIDDEN,), "2.weight": (HIDDEN, HIDDEN), "2.bias": (HIDDEN,)}
    return {f"base_model.model.model.mm_projector.{name}": draw(*shape).bfloat16() for name, shape in shapes.items()}


def _trunk(draw: _Draw) -> Weights:
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 17, WIDTH)}
    shapes |= {"patch_embed.proj.weight": (WIDTH, 3, 14, 14), "patch_embed.proj.bias": (WIDTH,)}
    linears = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    linears |= {"mlp.fc1": (MLP, WIDTH), "mlp.fc2": (WIDTH, MLP)}
    for block in range(BLOCKS):
        for name, shape in linears.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{block}.{name}"] = (WIDTH,)
    shapes |= {"norm.weight": (WIDTH,), "norm.bias": (WIDTH,)}
    return {name: draw(*shape, std=0.3) for name, shape in shapes.items()}


def _training_checkpoint(draw: _Draw) -> dict[str, object]:
    """What open_clip saves: the whole CLIP, wrapped for several GPUs, with Adam's state and a number or two."""
    state = {f"module.visual.trunk.{name}": tensor for name, tensor in _trunk(draw).items()}
    state |= {"module.visual.head.proj.weight": draw(32, WIDTH), "module.logit_scale": draw()}
    state |= {"module.text.transformer.embeddings.position_ids": torch.arange(8)}
    adam = {"step": torch.tensor(9.0), "exp_avg": draw(4, 4), "exp_avg_sq": draw(4, 4)}
    optimizer = {"state": {0: adam}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.98), "params": [0]}]}
    return {"epoch": 7, "name": "run", "best_loss": np.float64(0.5), "state_dict": state, "optimizer": optimizer}


def _adapter_facts() -> dict[str, object]:
    return {
        "base_model_name_or_path": "lmsys/vicuna-7b-v1.5", "bias": "none", "fan_in_fan_out": False,
        "inference_mode": True, "init_lora_weights": True, "lora_alpha": ALPHA, "lora_dropout": 0.05,
        "modules_to_save": None, "peft_type": "LORA", "r": RANK, "task_type": "CAUSAL_LM",
        "target_modules": ["up_proj", "down_proj", "gate_proj", "o_proj", "q_proj", "v_proj", "k_proj"],
    }  # fmt: skip


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2))
