"""The image tower by timm's names, as open_clip's training saved it, against DINOv2's names in transformers."""

from collections.abc import Mapping

from torch import Tensor

_RENAMED = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("encoder.layer.", "blocks."),
    ("attention.o_proj.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("layernorm.", "norm."),
)
_JOINED = ("attention.q_proj.", "attention.k_proj.", "attention.v_proj.")
_PARALLEL, _TRUNK = "module.", "visual.trunk."
# Contrastive training alone needs these.
_DROPPED = ("visual.head.", "text.", "logit_scale", "logit_bias")


def timm_name(name: str) -> tuple[str, int | None]:
    """The name in timm, and which third of that tensor it is (query, key, value) or None for the whole."""
    third = next((index for index, part in enumerate(_JOINED) if part in name), None)
    if third is not None:
        name = name.replace(_JOINED[third], "attn.qkv.")
    for ours, theirs in _RENAMED:
        name = name.replace(ours, theirs)
    return name, third


def take_trunk(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tower's tensors under timm's names. What is neither the tower's nor known to be dropped keeps its name."""
    trunk: dict[str, Tensor] = {}
    for full_name in sorted(state):
        name = full_name.removeprefix(_PARALLEL)
        if name.startswith(_DROPPED):
            continue
        is_trunk = name.startswith(_TRUNK)
        # The last norm is called fc_norm where timm pools before it; nothing we compute uses it.
        trunk[name.removeprefix(_TRUNK).removeprefix("fc_") if is_trunk else full_name] = state[full_name]
    return trunk
