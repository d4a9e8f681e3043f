"""The words around the image, exactly as in training.

Source: LLaVA conversation template `v1` (Vicuna v1.1), instruction of LLaVA-Rad's training and evaluation.
"""

BEFORE_IMAGE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: "
)
INSTRUCTION = "Provide a description of the findings in the radiology image"
WITHOUT_INDICATION = INSTRUCTION + "."
WITH_INDICATION = INSTRUCTION + " given the following indication: {indication}"
AFTER_IMAGE = "\n{instruction} ASSISTANT:"
# Prompt, indication and draft must fit the model's positions even if every character takes several tokens.
MAX_INDICATION_CHARACTERS = 600


def prompt_chunks(indication: str | None) -> tuple[str, str]:
    """The text before and after the image; each is tokenised alone.

    The image's place is never a word in the text, so no indication can add a second one.
    """
    words = _one_line(indication or "")
    instruction = WITH_INDICATION.format(indication=words) if words else WITHOUT_INDICATION
    return BEFORE_IMAGE, AFTER_IMAGE.format(instruction=instruction)


def prompt_template() -> str:
    """Everything about the prompt that a draft depends on, for the model's digest."""
    without = AFTER_IMAGE.format(instruction=WITHOUT_INDICATION)
    with_words = AFTER_IMAGE.format(instruction=WITH_INDICATION)
    return f"{BEFORE_IMAGE}<image>{without}|{with_words}|{MAX_INDICATION_CHARACTERS}"


def _one_line(text: str) -> str:
    # Training replaced line breaks by spaces and added no full stop.
    return " ".join(text.strip().splitlines())[:MAX_INDICATION_CHARACTERS].rstrip()
