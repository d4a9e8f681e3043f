"""How a Llama tokenizer is put together from its pieces and merges."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers

SPACE = "▁"
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"  # ids 0, 1, 2


def assemble_tokenizer(pieces: Sequence[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """Byte pairs, `▁` for space and one put in front, bytes as a fallback.

    pieces: in the order of their ids. merges: in the order of their rank.
    """
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
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
