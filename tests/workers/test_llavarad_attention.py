"""From what the model attended to, token by token, to one map for each sentence."""

import numpy as np
import pytest

from dicom_node.flags import Span
from dicom_node.sentences import find_sentences
from workers.llavarad.attention import map_sentences


def test_a_map_is_the_mean_of_its_sentence_s_tokens_and_its_strongest_patch_is_white() -> None:
    rows = np.zeros((4, 4), np.float32)
    rows[0, 0], rows[1, 0], rows[1, 1] = 0.2, 0.2, 0.2  # two tokens of the first sentence
    rows[2, 3] = 0.1  # one of the second
    rows[3, 2] = 0.9  # of neither

    maps = map_sentences(rows, [(0, 6), (7, 12)], [3, 6, 12, 20])

    assert maps.dtype == np.uint8
    assert maps.tolist() == [[[255, 128], [0, 0]], [[0, 0], [0, 255]]]


def test_a_sentence_without_tokens_has_a_black_map() -> None:
    assert map_sentences(np.ones((1, 4), np.float32), [(5, 9)], [3]).max() == 0


def test_no_sentence_gives_no_map() -> None:
    assert map_sentences(np.ones((1, 4), np.float32), [], [3]).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Clear. No effusion.", [(0, 6), (7, 19)]),
        ("A nodule of 1.5 cm.\n\nDr. Who was told!", [(0, 19), (21, 38)]),
        ("no end", [(0, 6)]),
        ("...", []),
    ],
)
def test_sentences_end_at_their_marks_and_at_line_ends(text: str, spans: list[Span]) -> None:
    assert find_sentences(text) == spans
