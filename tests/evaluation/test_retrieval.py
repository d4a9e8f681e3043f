"""Ranks and recall of cross-modal retrieval."""

from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import Permanent
from workers.evaluation.retrieval import match_ranks, read_embeddings, retrieve


def test_vectors_equal_to_their_match_are_found_first() -> None:
    vectors = np.eye(12, dtype=np.float32)
    found = retrieve(vectors, vectors)
    assert found.recall == {1: 1.0, 5: 1.0, 10: 1.0}
    assert (found.mean_rank, found.median_rank) == (1.0, 1.0)


def test_a_model_that_gives_every_image_the_same_vector_finds_nothing() -> None:
    found = retrieve(np.ones((20, 3), dtype=np.float32), np.ones((20, 3), dtype=np.float32))
    assert found.recall == {1: 0.0, 5: 0.0, 10: 0.0}
    assert found.mean_rank == 20.0


def test_ranks_count_the_targets_that_are_nearer() -> None:
    queries = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    targets = np.array([[0.5, 0], [1, 0.2], [0.9, 0.9]], dtype=np.float32)
    assert match_ranks(queries, targets).tolist() == [3, 2, 1]


def test_ranks_do_not_depend_on_the_blocks() -> None:
    random = np.random.default_rng(0)
    queries, targets = random.normal(size=(2, 1100, 8)).astype(np.float32)
    ranks = match_ranks(queries, targets)
    assert ranks[600] == match_ranks(queries[[600]], targets[np.r_[600, 0:600, 601:1100]])[0]


def test_embeddings_are_read_with_length_1(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", image=np.array([[3.0, 4.0]]), text=np.array([[0.0, 2.0]]))
    image, text = read_embeddings(tmp_path / "e.npz")
    assert image.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert text.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.ones((2, 3))}, "arrays `image` and `text`"),
        ({"image": np.ones((2, 3)), "text": np.ones((3, 3))}, r"expected one \(N, D\)"),
        ({"image": np.ones(3), "text": np.ones(3)}, r"expected one \(N, D\)"),
        ({"image": np.zeros((2, 3)), "text": np.ones((2, 3))}, "zero or not finite"),
        ({"image": np.full((2, 3), np.nan), "text": np.ones((2, 3))}, "zero or not finite"),
        ({"image": np.array([object()]), "text": np.ones((1, 1))}, "arrays `image` and `text`"),
    ],
)
def test_embeddings_that_cannot_be_used_are_refused(
    tmp_path: Path, arrays: dict[str, "np.typing.NDArray[np.float64]"], words: str
) -> None:
    np.savez(tmp_path / "e.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options
    with pytest.raises(Permanent, match=words):
        read_embeddings(tmp_path / "e.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"text"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.npz").write_bytes(content)
    with pytest.raises(Permanent, match="is not an"):
        read_embeddings(tmp_path / "e.npz")
