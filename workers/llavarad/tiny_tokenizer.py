"""A Llama-like tokenizer made on the spot: byte pairs, `▁` for space and one put in front, bytes as a fallback."""

import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPACE = "▁"
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"  # ids 0, 1, 2 as in Llama


def train_tokenizer(sentences: tuple[str, ...]) -> Tokenizer:
    """A tokenizer in which every word of the sentences is one token.

    It treats a text as Llama's does, so a chunk that begins with a line break begins with the space of its own.
    """
    pieces, merges = _learn(sentences)
    vocabulary = [UNKNOWN, BEGIN, END, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(vocabulary)},
            merges=merges,
            unk_token=UNKNOWN,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([UNKNOWN, BEGIN, END])
    return tokenizer


def _learn(sentences: tuple[str, ...]) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces in the order of their ids, and merges in the order of their rank."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    learner.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=4_000, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    return pieces, [(left, right) for left, right in learned["merges"]]
