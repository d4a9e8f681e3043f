"""A record as the language model reads it: words, the image's place, words, and the answer it is to learn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.llavarad.prompt import prompt_chunks
from workers.llavarad.tokenizer import ChunkTokenizer
from workers.training.records import Record

UNSCORED = -100  # torch's own mark for a target that does not count
_PADDING = 0


@dataclass(frozen=True)
class Sample:
    """Ids before and after the image's place, and the answer's. The loss is on the answer only."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Samples padded on the right to one length L. All (B, L).

    ids: int64, anything at the image's place. is_picture: that place. targets: int64, the id itself where it is part
    of an answer, else UNSCORED.
    """

    ids: Tensor
    is_picture: Tensor
    targets: Tensor


def plain_sample(tokenizer: ChunkTokenizer, record: Record) -> Sample:
    """Image, findings, line break: no instruction. Source: LLaVA conversation template `plain`, LLaVA-Rad's stage 2."""
    return Sample(tuple(tokenizer.first_ids("")), (), tuple(tokenizer.next_ids(record.findings + "\n")))


def instruction_sample(tokenizer: ChunkTokenizer, record: Record, *, eos_id: int) -> Sample:
    """The prompt the model is used with, findings, end mark. Source: LLaVA template `v1`, LLaVA-Rad's stage 3."""
    before, after = prompt_chunks(record.reason)
    answer = (*tokenizer.next_ids(record.findings), eos_id)
    return Sample(tuple(tokenizer.first_ids(before)), tuple(tokenizer.next_ids(after)), answer)


def cut(sample: Sample, *, picture_tokens: int, max_positions: int) -> Sample:
    """The sample without what lies beyond `max_positions`, image included."""
    room = max_positions - len(sample.before) - picture_tokens - len(sample.after)
    return Sample(sample.before, sample.after, sample.answer[: max(0, room)])


def collate(samples: Sequence[Sample], *, picture_tokens: int) -> Batch:
    """Under a causal mask nothing sees what is padded on the right, so no mask is needed."""
    lines = [[*s.before, *[_PADDING] * picture_tokens, *s.after, *s.answer] for s in samples]
    length = max(len(line) for line in lines)
    ids = torch.full((len(samples), length), _PADDING)
    is_picture = torch.zeros(len(samples), length, dtype=torch.bool)
    targets = torch.full((len(samples), length), UNSCORED)
    for row, (sample, line) in enumerate(zip(samples, lines, strict=True)):
        ids[row, : len(line)] = torch.tensor(line)
        is_picture[row, len(sample.before) : len(sample.before) + picture_tokens] = True
        answer = slice(len(line) - len(sample.answer), len(line))
        targets[row, answer] = ids[row, answer]
    return Batch(ids, is_picture, targets)
