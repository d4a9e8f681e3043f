"""`make bench-draft`: how fast a card drafts with a model of the published size, whose numbers are random.

Beside `generate` of transformers in the same run.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from workers.llavarad.checkpoint import build_empty
from workers.llavarad.config import LanguageConfig, ModelConfig
from workers.llavarad.model import LlavaRad

TOKENS, REPETITIONS = 96, 5
BEFORE, AFTER = list(range(3, 40)), list(range(41, 104))  # with the image 1469, as with a short indication
NEVER = 0  # an end mark that is not written: its logit is 0, and others are larger


@torch.inference_mode()
def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("No NVIDIA card is here: nothing to measure.")
    transformers.logging.set_verbosity_error()
    copied = _copied_per_s()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, transformers {transformers.__version__}; ")
    print(f"a copy within its memory moves {copied / 1e9:.0f} GB a second, read and written.", flush=True)
    model = _random_model()
    pixels = torch.randn(1, 3, model.config.image_size_px, model.config.image_size_px, device="cuda")
    read_s = _seconds(
        lambda: model.language_model.model(inputs_embeds=model.embed(pixels, BEFORE, AFTER), use_cache=True)
    )
    needed = _bytes_of_a_step(model)
    print(f"Image and prompt are read in {read_s * 1e3:.0f} ms; a step needs {needed / 1e9:.1f} GB.\n")
    print(f"| a draft of {TOKENS} tokens | s | ms a step | GB a second | of a copy |")
    print("|---|---|---|---|---|", flush=True)

    def line(name: str, seconds: float) -> None:
        step_s = (seconds - read_s) / TOKENS
        rate = needed / step_s
        print(f"| {name} | {seconds:.2f} | {step_s * 1e3:.2f} | {rate / 1e9:.0f} | {rate / copied:.0%} |", flush=True)

    line("`generate` of transformers", _seconds(lambda: _generate(model, pixels)))
    line("the node", _seconds(lambda: model.write(pixels, BEFORE, AFTER, max_new_tokens=TOKENS)))
    print(f"\nAt the most {torch.cuda.max_memory_allocated() / 1e9:.1f} GB of the card's memory were taken.")


def _random_model() -> LlavaRad:
    config = ModelConfig(name="random", version="0", language=LanguageConfig(eos_id=NEVER))
    model = build_empty(config).to(torch.bfloat16).to_empty(device="cuda")
    for name, tensor in model.eval().requires_grad_(False).named_parameters():
        if "norm" in name and name.endswith("weight"):
            tensor.fill_(1)
        else:
            tensor.normal_(0, 0.02)
    model.language_model.lm_head.weight[NEVER] = 0
    # As `load_weights`: computed, not stored.
    model.language_model.model.rotary_emb = LlamaRotaryEmbedding(model.language_model.config).to("cuda")
    return model


def _generate(model: LlavaRad, pixels: Tensor) -> None:
    prompt = model.embed(pixels, BEFORE, AFTER)
    mask = torch.ones(prompt.shape[:2], dtype=torch.long, device="cuda")
    model.language_model.generate(
        inputs_embeds=prompt, attention_mask=mask, do_sample=False, max_new_tokens=TOKENS, eos_token_id=NEVER,
        pad_token_id=NEVER,
    )  # fmt: skip


def _bytes_of_a_step(model: LlavaRad) -> int:
    """Every weight but the table of embeddings, and the keys and values of half the draft."""
    language = model.language_model
    weights = sum(each.nbytes for name, each in language.named_parameters() if "embed_tokens" not in name)
    places = len(BEFORE) + model.config.image_tokens + len(AFTER) + TOKENS // 2
    sizes = model.config.language
    head_size = sizes.hidden_size // sizes.heads
    return weights + 2 * sizes.layers * sizes.key_value_heads * head_size * places * torch.bfloat16.itemsize


def _copied_per_s() -> float:
    source = torch.randn(2**31, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _seconds(lambda: target.copy_(source))


def _seconds(work: Callable[[], object]) -> float:
    """The median, after one to warm up."""
    times = []
    for _ in range(REPETITIONS + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
