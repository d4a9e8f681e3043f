"""The model's own tokenizer, used chunk by chunk."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from dicom_node.errors import BadCheckpoint
from workers.llavarad.config import LanguageConfig


class ChunkTokenizer:
    """Turns each chunk of the prompt into ids as a text of its own.

    Llama marks the begin of a text with a space of its own: the chunk after the image begins with it too
    (29871, 13, …), which tokenising the whole prompt at once can lose.
    """

    def __init__(self, tokenizer: Tokenizer, *, bos_id: int, eos_id: int) -> None:
        # An indication that contains "</s>" means these four characters, not the end mark.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._bos_id = bos_id
        self._eos_id = eos_id

    def first_ids(self, chunk: str) -> list[int]:
        """Ids of the chunk that begins the prompt."""
        return [self._bos_id, *self.next_ids(chunk)]

    def next_ids(self, chunk: str) -> list[int]:
        """Ids of any later chunk."""
        ids: list[int] = self._tokenizer.encode(chunk, add_special_tokens=False).ids
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The words of generated ids, without special tokens and surrounding space."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip().removesuffix("</s>").strip()


def read_tokenizer(path: Path, language: LanguageConfig) -> ChunkTokenizer:
    """Raises BadCheckpoint if the file is no tokenizer or has ids that the language model lacks."""
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # `tokenizers` raises the bare class for whatever it cannot parse
        raise BadCheckpoint(f"{path.name} is not a tokenizer") from error
    size = tokenizer.get_vocab_size()
    if size > language.vocab_size:
        raise BadCheckpoint(f"{path.name} has {size} tokens, the language model {language.vocab_size}")
    return ChunkTokenizer(tokenizer, bos_id=language.bos_id, eos_id=language.eos_id)
