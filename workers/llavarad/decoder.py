"""Greedy writing with a Llama, token by token, in memory that stays where it is.

transformers reads the prompt. The steps after it are ours, so that reading 13 GB of weights is most of what a card does
in one: a step is few and large sums, and it is recorded once as a CUDA graph, since a thousand kernels take longer to
launch one by one than to run. Where each token looked is computed afterwards: nothing waits for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

from dicom_node.errors import EngineLost

_RUNS_BEFORE_RECORDING = 2  # what libraries make when first used must be there


@dataclass(frozen=True)
class Written:
    """ids: without the end mark.

    looked: (ids, prompt and ids) float32, the share of attention that went to each place when each id was chosen,
    averaged over the heads of the last half of the layers: what the answer could draw on, not why it says what it says.
    """

    ids: list[int]
    looked: Tensor


class Decoder:
    """Writes one text at a time. The model's weights must stay as they are from now on."""

    @torch.inference_mode()
    def __init__(self, language_model: LlamaForCausalLM, *, room: int) -> None:
        """room: for so many tokens, prompt and answer together."""
        self.room = room
        self._llama = language_model.model
        self._head = language_model.lm_head.weight
        self._layers = [_Layer(each, room) for each in self._llama.layers]
        device = self._head.device
        self._places = torch.arange(room, device=device)
        # What a step reads and advances: the newest token and its place.
        self._token = torch.zeros(1, dtype=torch.long, device=device)
        self._place = torch.zeros(1, dtype=torch.long, device=device)
        self._largest = torch.zeros(1, dtype=self._head.dtype, device=device)  # logits of all steps, added up
        self._graph = self._record() if device.type == "cuda" else None

    @torch.inference_mode()
    def write(self, prompt: Tensor, last_id: int, *, eos_id: int, max_new_tokens: int) -> Written:
        """Continue a prompt, (1, length, hidden) and its last id, until the end mark or the limit.

        Raises EngineLost where what was computed is no number: neither the text nor the memory can be trusted.
        """
        start = prompt.shape[1]
        if start + max_new_tokens > self.room:
            raise ValueError(f"no room for {start} tokens and {max_new_tokens} after them: {self.room}")
        self._read(prompt)
        self._token.fill_(last_id)
        self._place.fill_(start)
        self._largest.zero_()
        ids: list[int] = []
        while len(ids) < max_new_tokens and (newest := self._step()) != eos_id:
            ids.append(newest)
        if not bool(self._largest.isfinite()):
            raise EngineLost("the model computed numbers that are not finite")
        return Written(ids, self._look(start, len(ids)))

    def _read(self, prompt: Tensor) -> None:
        cache = self._llama(inputs_embeds=prompt, use_cache=True, return_dict=False)[1]
        for theirs, layer in zip(cache.layers, self._layers, strict=True):
            layer.remember(theirs.keys[0], theirs.values[0])

    def _step(self) -> int:
        """The id that follows the newest, and is the newest from now on."""
        if self._graph is None:
            self._run()
        else:
            self._graph.replay()
        return int(self._token)

    def _run(self) -> None:
        hidden = functional.embedding(self._token, self._llama.embed_tokens.weight)
        cos, sin = self._rotation(hidden)
        is_future = self._places > self._place
        mask = hidden.new_zeros(self.room).masked_fill_(is_future, -torch.inf)[None, None, None]
        for layer in self._layers:
            hidden = layer.run(hidden, self._place, cos, sin, mask)
        logits = functional.linear(_normed(self._llama.norm, hidden), self._head)
        self._largest.add_(logits.amax(-1))
        self._token.copy_(logits.argmax(-1))
        self._place.add_(1)

    def _rotation(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (heads, head size) by which queries and keys are turned, and values are not."""
        first = self._layers[0]
        cos, sin = (each[0] for each in self._llama.rotary_emb(hidden, position_ids=self._place[None]))
        sin = torch.cat([-sin[:, : first.size // 2], sin[:, first.size // 2 :]], -1)
        turned, still = (first.heads + first.key_heads, -1), (first.key_heads, first.size)
        return (
            torch.cat([cos.expand(turned), cos.new_ones(still)]),
            torch.cat([sin.expand(turned), sin.new_zeros(still)]),
        )

    def _look(self, start: int, count: int) -> Tensor:
        end = start + count
        is_future = self._places[:end] > self._places[start:end, None]
        watched = self._layers[len(self._layers) // 2 :]
        looked = torch.zeros(count, end, device=self._head.device)
        for layer in watched:
            looked += layer.looked(start, end, is_future) / len(watched)
        return looked

    def _record(self) -> torch.cuda.CUDAGraph:
        torch.cuda.empty_cache()  # what held the weights before they were laid side by side fits nothing else
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's has no types
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_RUNS_BEFORE_RECORDING):
                self._run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._run()
        return graph


class _Layer:
    """One layer with what it remembers of each place: queries, keys and values, one beside the other.

    Source of the sums: transformers' `LlamaDecoderLayer`.
    """

    def __init__(self, layer: LlamaDecoderLayer, room: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.size = attention.head_dim
        self.heads, self.key_heads = (
            each.weight.shape[0] // self.size for each in (attention.q_proj, attention.k_proj)
        )
        self._scaling = attention.scaling
        self._norms = layer.input_layernorm, layer.post_attention_layernorm
        self._into = _side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out = attention.o_proj.weight.t()
        self._gate_up = _side_by_side(mlp.gate_proj, mlp.up_proj)
        self._down = mlp.down_proj.weight.t()
        self._memory = self._out.new_zeros((self.heads + 2 * self.key_heads, room, self.size))
        self._queries, self._keys, self._values = torch.split(
            self._memory, [self.heads, self.key_heads, self.key_heads]
        )

    def run(self, hidden: Tensor, place: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """(1, hidden) to the same, in place; what later tokens need is remembered at `place`."""
        new = functional.linear(_normed(self._norms[0], hidden), self._into).view(-1, self.size)
        new = torch.addcmul(new * cos, new.roll(self.size // 2, -1), sin)
        self._memory.index_copy_(1, place, new[:, None])
        hidden.addmm_(self._attend(new[: self.heads], mask), self._out)
        gate, up = functional.linear(_normed(self._norms[1], hidden), self._gate_up).chunk(2, -1)
        return hidden.addmm_(functional.silu(gate) * up, self._down)

    def remember(self, keys: Tensor, values: Tensor) -> None:
        """Those of a prompt, (key heads, length, head size), and nothing of the text before it."""
        length = keys.shape[1]
        self._keys[:, :length], self._values[:, :length] = keys, values
        self._memory[:, length:] = 0  # what is hidden counts for 0, but 0 times what is no number is none

    def looked(self, start: int, end: int, is_future: Tensor) -> Tensor:
        """(end - start, end) float32: the weights of these places over all before, averaged over the heads."""
        sharing = (self.key_heads, self.heads // self.key_heads)  # heads that share a key head lie together
        queries = self._queries[:, start:end].view(*sharing, end - start, self.size)
        scores = torch.einsum("kgqd,kpd->kgqp", queries.float(), self._keys[:, :end].float()) * self._scaling
        weights: Tensor = scores.masked_fill(is_future, -torch.inf).softmax(-1)
        return weights.mean((0, 1))

    def _attend(self, query: Tensor, mask: Tensor) -> Tensor:
        mixed = functional.scaled_dot_product_attention(
            query[None, :, None],
            self._keys[None],
            self._values[None],
            attn_mask=mask,
            scale=self._scaling,
            enable_gqa=self.heads != self.key_heads,
        )
        return mixed.view(1, -1)


def _side_by_side(*linears: nn.Linear) -> Tensor:
    """One matrix in place of several: fewer and larger sums. The layers' own weights become views of it."""
    whole = torch.cat([each.weight for each in linears])
    parts = torch.split(whole, [each.weight.shape[0] for each in linears])
    for each, part in zip(linears, parts, strict=True):
        each.weight.data = part
    return whole


def _normed(norm: LlamaRMSNorm, hidden: Tensor) -> Tensor:
    return functional.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
