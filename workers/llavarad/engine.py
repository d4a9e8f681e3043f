"""The model at work: a folder becomes an engine, an image becomes findings."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Literal, Self

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from dicom_node.errors import BadCheckpoint, EngineLost, InvalidOutput
from dicom_node.logs import places
from dicom_node.sentences import find_sentences
from workers.llavarad.attention import map_sentences
from workers.llavarad.checkpoint import CONFIG, TOKENIZER, build_empty, load_weights, verify
from workers.llavarad.config import ModelConfig, read_config
from workers.llavarad.decoder import Written
from workers.llavarad.findings import EngineIdentity, Findings
from workers.llavarad.model import LlavaRad
from workers.llavarad.preprocess import to_tensor
from workers.llavarad.prompt import prompt_chunks, prompt_template
from workers.llavarad.tokenizer import ChunkTokenizer, read_tokenizer
from workers.llavarad.vision import grey_image

Device = Literal["auto", "cpu", "cuda"]

_DEVICES = Path("/dev")
_NO_CARD = {None, "", "none", "void"}  # in the variable by which a container is given one


class Engine:
    """A loaded, warm LLaVA-Rad. Several threads may call it; it writes one draft at a time."""

    def __init__(
        self, model: LlavaRad, tokenizer: ChunkTokenizer, *, identity: EngineIdentity, max_new_tokens: int
    ) -> None:
        self.identity = identity
        self._model = model
        self._tokenizer = tokenizer
        self._max_new_tokens = max_new_tokens
        self._lock = threading.Lock()

    @classmethod
    def load(cls, model_dir: Path, *, max_new_tokens: int = 256, device: Device = "auto") -> Self:
        """Verify and load a model folder, make room for drafts, then read one grey image at full size.

        Raises BadCheckpoint, StorageAway for a file that cannot be read, or EngineLost if memory does not suffice or if
        a real model would read on processors though a card is there.
        """
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # theirs has no types
        files = verify(model_dir)
        config = read_config(model_dir / CONFIG)
        where = _choose(device, config)
        dtype = _numbers(where, config)
        tokenizer = read_tokenizer(model_dir / TOKENIZER, config.language)
        model = build_empty(config).eval().requires_grad_(False)
        with _faults():
            load_weights(model, model_dir, files, dtype, where)
        digest = _digest(files, {"do_sample": False, "max_new_tokens": max_new_tokens, "dtype": str(dtype)})
        identity = EngineIdentity(config.name, config.version, digest, config.is_synthetic)
        engine = cls(model, tokenizer, identity=identity, max_new_tokens=max_new_tokens)
        engine._warm_up()
        return engine

    def write_findings(self, pixels: NDArray[np.uint8], indication: str | None) -> Findings:
        """Draft the findings of one frontal radiograph.

        pixels: (H, W), 0 black to 255 white. Raises EngineLost, UndecodablePixels or InvalidOutput.
        """
        with self._lock, _faults(), torch.inference_mode():
            started = monotonic()
            prepared = to_tensor(pixels, self._model.config.image_size_px)
            before, after = self._prompt(indication)
            image = torch.from_numpy(prepared.tensor).unsqueeze(0)
            written = self._model.write(image, before, after, max_new_tokens=self._max_new_tokens)
            seconds = monotonic() - started
        text = self._tokenizer.text(written.ids)
        if not text:
            raise InvalidOutput("the model wrote nothing")
        try:
            maps, fault = self._map(text, written, len(before)), ""
        except Exception as error:  # noqa: BLE001  no draft is lost for want of its pictures
            maps, fault = None, places(error)
        return Findings(text, len(written.ids), seconds, prepared.cropped_fraction, maps, fault)

    def _map(self, text: str, written: Written, image_at: int) -> NDArray[np.uint8]:
        looked = written.looked[:, image_at : image_at + self._model.config.image_tokens].cpu().numpy()
        ends = [len(self._tokenizer.text(written.ids[: count + 1])) for count in range(len(written.ids))]
        return map_sentences(looked, find_sentences(text), ends)

    def _prompt(self, indication: str | None) -> tuple[list[int], list[int]]:
        before, after = prompt_chunks(indication)
        return self._tokenizer.first_ids(before), self._tokenizer.next_ids(after)

    def _warm_up(self) -> None:
        before, after = self._prompt(None)
        with _faults(), torch.inference_mode():
            # First, so that a memory which does not hold it and a film is told now, and not at every draft.
            self._model.make_room(before, after, max_new_tokens=self._max_new_tokens)
            logits = self._model(grey_image(self._model.config), before, after, last=1)
        if not bool(torch.isfinite(logits).all()):
            raise BadCheckpoint("the model computes numbers that are not finite: weights or processor are damaged")


def _choose(device: Device, config: ModelConfig) -> torch.device:
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    wished = os.environ.get("CUDA_VISIBLE_DEVICES")
    is_hidden = wished in ("", "-1")  # by somebody who wants it so
    if config.is_synthetic or is_hidden or not any(_DEVICES.glob("nvidia[0-9]*")):
        return torch.device("cpu")
    # A container that has lost its card, for instance by `systemctl daemon-reload` on the host, still has its node.
    if torch.version.cuda:
        raise EngineLost("an NVIDIA card is there, but cannot be used: see `nvidia-smi`, then start the worker again")
    if wished or os.environ.get("NVIDIA_VISIBLE_DEVICES") not in _NO_CARD:
        raise EngineLost("an NVIDIA card is there, but this PyTorch knows none: build with PIP_EXTRA_INDEX_URL empty")
    return torch.device("cpu")


def _numbers(where: torch.device, config: ModelConfig) -> torch.dtype:
    """bfloat16 on a card, and on a processor that multiplies it itself: half the memory, and sooner read."""
    able = torch.cpu.get_capabilities()
    is_native = where.type == "cuda" or able.get("avx512_bf16") or able.get("amx_bf16")
    # What ships is small, and was scored in float32: it writes the same words on every processor.
    return torch.bfloat16 if is_native and not config.is_synthetic else torch.float32


def _digest(files: dict[str, str], generation: dict[str, object]) -> str:
    facts = {"files": files, "prompt": prompt_template(), "generation": generation}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def _faults() -> Iterator[None]:
    # torch reports a full memory and a broken device alike, as RuntimeError; after either do not trust this process.
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise EngineLost(f"the model stopped with {type(error).__name__}") from error
