"""What the loss is on: exactly the answer's tokens, in both templates."""

from pathlib import Path

import pytest

from workers.llavarad.prompt import prompt_chunks
from workers.llavarad.tiny_tokenizer import train_tokenizer
from workers.llavarad.tokenizer import ChunkTokenizer
from workers.training.language import facts_of, make_tokenizer, told_ids
from workers.training.records import Record
from workers.training.samples import UNSCORED, Sample, collate, cut, instruction_sample, plain_sample

BOS, EOS = 1, 2
FINDINGS = "Small left effusion. The heart is normal."


def _record(reason: str = "", labels: tuple[str, ...] | None = None) -> Record:
    return Record("1", Path("1.png"), "PA", reason, "rule-based", FINDINGS, labels)


@pytest.fixture(scope="module")
def tokenizer() -> ChunkTokenizer:
    words = train_tokenizer((*prompt_chunks("cough"), *prompt_chunks(None), FINDINGS))
    return ChunkTokenizer(words, bos_id=BOS, eos_id=EOS)


def test_the_plain_template_is_image_findings_and_line_break(tokenizer: ChunkTokenizer) -> None:
    sample = plain_sample(tokenizer, _record("cough"))

    assert (sample.before, sample.after) == ((BOS,), ())
    assert sample.answer == tuple(tokenizer.next_ids(FINDINGS + "\n"))
    assert tokenizer.text(sample.answer[:-1]) == FINDINGS


@pytest.mark.parametrize("reason", ["", "cough"])
def test_the_instruction_template_is_what_the_engine_asks(tokenizer: ChunkTokenizer, reason: str) -> None:
    sample = instruction_sample(tokenizer, _record(reason), eos_id=EOS)

    before, after = prompt_chunks(reason)
    assert list(sample.before) == tokenizer.first_ids(before)
    assert list(sample.after) == tokenizer.next_ids(after)
    assert tokenizer.text(sample.after).endswith("ASSISTANT:")
    assert sample.answer[-1] == EOS
    assert tokenizer.text(sample.answer[:-1]) == FINDINGS


def test_prompt_and_answer_are_the_ids_of_the_text_in_one_piece(tokenizer: ChunkTokenizer) -> None:
    sample = instruction_sample(tokenizer, _record(), eos_id=EOS)

    _, after = prompt_chunks(None)
    assert [*sample.after, *sample.answer[:-1]] == tokenizer.next_ids(f"{after} {FINDINGS}")


def test_only_answers_are_scored_and_only_images_are_replaced() -> None:
    samples = [Sample((1, 5), (6,), (7, 8, 2)), Sample((1,), (), (9, 2))]

    batch = collate(samples, picture_tokens=2)

    assert batch.ids.tolist() == [[1, 5, 0, 0, 6, 7, 8, 2], [1, 0, 0, 9, 2, 0, 0, 0]]
    assert batch.is_picture.long().tolist() == [[0, 0, 1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0, 0]]
    x = UNSCORED
    assert batch.targets.tolist() == [[x, x, x, x, x, 7, 8, 2], [x, x, x, 9, 2, x, x, x]]


def test_an_answer_is_cut_where_the_positions_end() -> None:
    sample = Sample((1, 5), (6,), (7, 8, 2))

    assert cut(sample, picture_tokens=4, max_positions=10) == sample
    assert cut(sample, picture_tokens=4, max_positions=9).answer == (7, 8)
    assert cut(sample, picture_tokens=4, max_positions=5).answer == ()


def test_facts_are_labels_or_else_sentences() -> None:
    assert facts_of(_record(labels=("left effusion",))) == ("left effusion",)
    assert facts_of(_record(labels=())) == ("no finding",)
    assert facts_of(_record(labels=("", "cardiomegaly"))) == ("cardiomegaly",)
    assert facts_of(_record()) == ("Small left effusion.", "The heart is normal.")


def test_the_facts_fill_the_images_place_in_any_order_and_again() -> None:
    record = _record(labels=("effusion", "mass"))
    words = ChunkTokenizer(make_tokenizer([record]), bos_id=BOS, eos_id=EOS)

    told = told_ids(words, [record] * 8, picture_tokens=6, seed=0)

    texts = {words.text(row.tolist()) for row in told}
    assert told.shape == (8, 6)
    assert len(texts) > 1
    assert all(sorted(text.split()) == ["effusion"] * 3 + ["mass"] * 3 for text in texts)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("findings", "labels"), [("...", None), (". .", None), ("Clear.", ("", " "))])
def test_a_record_without_a_word_of_facts_has_no_finding(findings: str, labels: tuple[str, ...] | None) -> None:
    record = Record("1", Path("1.png"), "PA", "", "rule-based", findings, labels)
    words = ChunkTokenizer(make_tokenizer([record]), bos_id=BOS, eos_id=EOS)

    assert facts_of(record) == ("no finding",)
    assert told_ids(words, [record], picture_tokens=6, seed=0).shape == (1, 6)
