"""Our reading of tokenizer.model against SentencePiece itself; Llama's own file where it is given."""

import os
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from published_layout import SENTENCES, sentencepiece_model

from workers.llavarad.llama_tokenizer import END
from workers.llavarad.pieces import read_llama_tokenizer
from workers.llavarad.prompt import prompt_chunks
from workers.llavarad.tokenizer import ChunkTokenizer

LLAMA_TOKENIZER = "LLAMA_TOKENIZER"
WORDS = sorted(set(SENTENCES.split()))
# spec/llava_rad.md, 4; the image stands between the two lists.
GOLDEN_BEFORE = (
    "1 319 13563 1546 263 12758 1404 322 385 23116 21082 20255 29889 450 20255 4076 8444 29892 13173 29892 322 1248 "
    "568 6089 304 278 1404 29915 29879 5155 29889 3148 1001 29901 29871"
)
GOLDEN_AFTER = (
    "29871 13 1184 29894 680 263 6139 310 278 1284 886 297 278 17937 3002 1967 29889 319 1799 9047 13566 29901"
)
GOLDEN_INDICATION = "2183 278 1494 4221 362 29901 13899 2264 310 16172 319 1799 9047 13566 29901"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    made.write_bytes(sentencepiece_model())
    return made


@pytest.fixture(scope="module")
def ours(path: Path) -> ChunkTokenizer:
    return ChunkTokenizer(read_llama_tokenizer(path), bos_id=1, eos_id=2)


@pytest.fixture(scope="module")
def theirs(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def without_nul(text: str) -> str:
    return text.replace("\0", "")


anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(without_nul)
findings = st.lists(st.sampled_from([*WORDS, " ", "\n", "é", "3.4", "_"])).map(" ".join)


@given(text=st.one_of(anything, findings))
def test_ids_and_texts_equal_those_of_sentencepiece(
    ours: ChunkTokenizer, theirs: sentencepiece.SentencePieceProcessor, text: str
) -> None:
    ids = ours.next_ids(text)
    assert ids == theirs.encode(text)
    assert ours.text(ids) == theirs.decode(ids).strip().removesuffix(END).strip()


def test_every_piece_keeps_its_id(path: Path, theirs: sentencepiece.SentencePieceProcessor) -> None:
    tokenizer = read_llama_tokenizer(path)
    assert tokenizer.get_vocab_size() == theirs.get_piece_size()
    assert [tokenizer.id_to_token(n) for n in range(420)] == [theirs.id_to_piece(n) for n in range(420)]


@pytest.fixture(scope="module")
def llama() -> ChunkTokenizer:
    path = os.environ.get(LLAMA_TOKENIZER)
    if path is None:
        pytest.skip(f"{LLAMA_TOKENIZER} does not name Llama's tokenizer.model")
    return ChunkTokenizer(read_llama_tokenizer(Path(path)), bos_id=1, eos_id=2)


def ids_of(numbers: str) -> list[int]:
    return [int(number) for number in numbers.split()]


def test_prompt_has_the_golden_ids(llama: ChunkTokenizer) -> None:
    before, after = prompt_chunks(None)
    assert llama.first_ids(before) == ids_of(GOLDEN_BEFORE)
    assert llama.next_ids(after) == ids_of(GOLDEN_AFTER)


def test_prompt_with_an_indication_has_the_golden_ids(llama: ChunkTokenizer) -> None:
    _, after = prompt_chunks("Shortness of breath")
    same = ids_of(GOLDEN_AFTER)[: ids_of(GOLDEN_AFTER).index(1967) + 1]
    assert llama.next_ids(after) == [*same, *ids_of(GOLDEN_INDICATION)]


@given(text=anything)
def test_llama_ids_equal_those_of_sentencepiece(llama: ChunkTokenizer, text: str) -> None:
    theirs = sentencepiece.SentencePieceProcessor(model_file=os.environ[LLAMA_TOKENIZER])
    assert llama.next_ids(text) == theirs.encode(text)
