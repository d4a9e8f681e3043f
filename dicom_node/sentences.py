"""Where the sentences of a draft are: what is said of a sentence in one place is found again in another."""

import re

from dicom_node.flags import Span

# No end: a decimal point, a title.
_SENTENCE = re.compile(r"(?:[^.!?\n]|\.(?=\d)|(?<=\bDr)\.|(?<=\bMr)\.)+[.!?]*")


def find_sentences(text: str) -> list[Span]:
    """Without the blanks around them, in order. A line's end is a sentence's end."""
    spans = (match.span() for match in _SENTENCE.finditer(text))
    return [(end - len(text[start:end].lstrip()), end) for start, end in spans if text[start:end].strip()]
