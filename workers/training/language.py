"""A small language model to start from, for a model that has no Vicuna: it writes a report from what it is told.

It learns on text alone. At the image's place it reads the facts in words, in any order and again and again until the
place is full, so that it also learns to look for what it needs among as many positions as an image has.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.random import Generator
from tokenizers import Tokenizer
from torch import Tensor

from dicom_node.sentences import find_sentences
from workers.llavarad.prompt import AFTER_IMAGE, BEFORE_IMAGE, WITH_INDICATION, WITHOUT_INDICATION
from workers.llavarad.tiny_tokenizer import train_tokenizer
from workers.llavarad.tokenizer import ChunkTokenizer
from workers.training.records import Record

_PROMPT_WORDS = (BEFORE_IMAGE, WITH_INDICATION, AFTER_IMAGE.format(instruction=WITHOUT_INDICATION))

_NOTHING = ("no finding",)


def make_tokenizer(records: Sequence[Record]) -> Tokenizer:
    """One whose tokens are the words of the prompt and of the records."""
    texts = {text for record in records for text in (record.findings, record.reason, *facts_of(record)) if text}
    return train_tokenizer((*_PROMPT_WORDS, *sorted(texts)))


def told_ids(tokenizer: ChunkTokenizer, records: Sequence[Record], *, picture_tokens: int, seed: int) -> Tensor:
    """(N, picture_tokens) int64: each record's facts in words, in the image's place."""
    random = np.random.default_rng(seed)
    return torch.tensor([_fill(tokenizer, facts_of(record), picture_tokens, random) for record in records])


def facts_of(record: Record) -> tuple[str, ...]:
    """The record's own labels, else the sentences of its findings. At least one, and none without a word."""
    if record.labels is not None:
        return tuple(label for label in record.labels if label.strip()) or _NOTHING
    sentences = (record.findings[start:end] for start, end in find_sentences(record.findings))
    return tuple(sentence for sentence in sentences if sentence.strip(" .")) or _NOTHING


def _fill(tokenizer: ChunkTokenizer, facts: tuple[str, ...], length: int, random: Generator) -> list[int]:
    told = [tokenizer.next_ids(fact) for fact in facts]
    filled: list[int] = []
    for ids in _again_and_again(told, random):
        filled += ids
        if len(filled) >= length:
            break
    return filled[:length]


def _again_and_again(told: list[list[int]], random: Generator) -> Iterator[list[int]]:
    while True:
        yield from (told[index] for index in random.permutation(len(told)))
