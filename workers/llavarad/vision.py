"""The image tower: stock DINOv2, read before its end."""

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from workers.llavarad.config import ModelConfig


def build_tower(config: ModelConfig) -> Dinov2Model:
    """An uninitialised tower. It has no mask token: only DINOv2's own pre-training uses one."""
    vision = config.vision
    return Dinov2Model(
        Dinov2Config(
            hidden_size=vision.hidden_size,
            num_hidden_layers=vision.layers,
            num_attention_heads=vision.heads,
            mlp_ratio=vision.mlp_ratio,
            hidden_act="gelu",
            layer_norm_eps=vision.layer_norm_eps,
            image_size=config.image_size_px,
            patch_size=vision.patch_size_px,
            qkv_bias=True,
            use_mask_token=False,
        )
    )


def patch_features(tower: Dinov2Model, pixels: Tensor, *, blocks: int) -> Tensor:
    """What the projector reads: the output of block number `blocks`, without CLS and without the final norm.

    pixels: (B, 3, S, S) in the tower's dtype. Returns (B, patches, hidden).
    Source: LLaVA, mm_vision_select_layer -2, mm_vision_select_feature patch. The blocks after are not run.
    """
    hidden: Tensor = tower.embeddings(pixels)
    layers: nn.ModuleList = tower.encoder.layer
    for layer in layers[:blocks]:
        hidden = layer(hidden)
    return hidden[:, 1:]


def grey_image(config: ModelConfig) -> Tensor:
    """(1, 3, S, S) float32 zeros: an image of the average brightness, for warming up."""
    return torch.zeros(1, 3, config.image_size_px, config.image_size_px)
