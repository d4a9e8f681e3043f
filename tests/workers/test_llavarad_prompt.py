import pytest

from workers.llavarad.prompt import MAX_INDICATION_CHARACTERS, prompt_chunks, prompt_template
from workers.llavarad.tiny_tokenizer import train_tokenizer
from workers.llavarad.tokenizer import ChunkTokenizer

BEFORE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)
BOS, EOS, NEWLINE = 1, 2, 3 + 0x0A


@pytest.fixture(scope="module")
def tokenizer() -> ChunkTokenizer:
    return ChunkTokenizer(train_tokenizer(("Both lungs are clear. ASSISTANT: Provide",)), bos_id=BOS, eos_id=EOS)


def test_prompt_without_indication_is_the_training_prompt() -> None:
    after = "\nProvide a description of the findings in the radiology image. ASSISTANT:"
    assert prompt_chunks(None) == (BEFORE, after)
    assert prompt_chunks("  \n ") == (BEFORE, after)


def test_prompt_with_indication_is_the_training_prompt() -> None:
    assert prompt_chunks("Shortness of breath") == (
        BEFORE,
        "\nProvide a description of the findings in the radiology image given the following indication: "
        "Shortness of breath ASSISTANT:",
    )


def test_indication_becomes_one_line_of_limited_length() -> None:
    assert "indication: cough fever ASSISTANT:" in prompt_chunks("cough\r\nfever\n")[1]
    assert "x" * MAX_INDICATION_CHARACTERS + " ASSISTANT:" in prompt_chunks("x" * 5_000)[1]


def test_braces_in_an_indication_are_ordinary_characters() -> None:
    assert "indication: {cough} {0} ASSISTANT:" in prompt_chunks("{cough} {0}")[1]


def test_template_names_every_fixed_word() -> None:
    assert BEFORE + "<image>\nProvide" in prompt_template()


def test_first_chunk_begins_with_bos_and_ends_with_the_space_before_the_image(tokenizer: ChunkTokenizer) -> None:
    space = tokenizer.next_ids("")
    assert space == []
    ids = tokenizer.first_ids("lungs are ")
    assert ids[0] == BOS
    assert ids.count(BOS) == 1
    assert ids[-1] == tokenizer.next_ids("\n")[0]


def test_later_chunk_begins_with_a_space_of_its_own_and_the_line_break(tokenizer: ChunkTokenizer) -> None:
    ids = tokenizer.next_ids("\nProvide")
    space = tokenizer.first_ids("lungs ")[-1]
    assert ids[:2] == [space, NEWLINE]
    assert BOS not in ids


def test_chunks_are_not_the_same_as_the_whole_text(tokenizer: ChunkTokenizer) -> None:
    chunks = [*tokenizer.next_ids("lungs "), *tokenizer.next_ids("\nProvide")]
    assert chunks != tokenizer.next_ids("lungs \nProvide")


def test_special_tokens_in_an_indication_stay_text(tokenizer: ChunkTokenizer) -> None:
    ids = tokenizer.next_ids("clear.</s><s>")
    assert BOS not in ids
    assert EOS not in ids


@pytest.mark.parametrize("text", ["Both lungs are clear.", "Größe 3 µm; 🫁", "a  b"])
def test_text_survives_ids_and_back(tokenizer: ChunkTokenizer, text: str) -> None:
    assert tokenizer.text(tokenizer.next_ids(text)) == text


def test_text_is_stripped_and_loses_a_trailing_end_mark(tokenizer: ChunkTokenizer) -> None:
    assert tokenizer.text([*tokenizer.next_ids("\n Both lungs \n"), EOS]) == "Both lungs"
    assert tokenizer.text(tokenizer.next_ids("clear. </s>")) == "clear."
