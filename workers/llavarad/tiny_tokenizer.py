"""A Llama-like tokenizer made on the spot."""

import json

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from workers.llavarad.llama_tokenizer import BEGIN, END, SPACE, UNKNOWN, assemble_tokenizer


def train_tokenizer(sentences: tuple[str, ...]) -> Tokenizer:
    """A tokenizer in which every word of the sentences is one token.

    It treats a text as Llama's does, so a chunk that begins with a line break begins with the space of its own.
    """
    pieces, merges = _learn(sentences)
    vocabulary = [UNKNOWN, BEGIN, END, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    return assemble_tokenizer(vocabulary, merges)


def _learn(sentences: tuple[str, ...]) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces in the order of their ids, and merges in the order of their rank."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    learner.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=4_000, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    return pieces, [(left, right) for left, right in learned["merges"]]
