"""`dicom-node evaluate` from the file to table, JSON and picture."""

import io
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.errors import Permanent, StorageFull
from workers.evaluation.chexprompt import NOT_COMPARABLE, Message
from workers.evaluation.completion import Completion
from workers.evaluation.judge import Judge
from workers.evaluation.predictions import read_pairs
from workers.evaluation.run import JSON_NAME, PICTURE_NAME, Asked, evaluate, make_judge

ANSWER = (
    "Number of clinically significant errors by type: [(A, 1), (B, 0), (C, 0), (D, 0), (E, 0), (F, 0)]\n"
    "Number of clinically insignificant errors by type: [(A, 0), (B, 0), (C, 0), (D, 1), (E, 0), (F, 0)]"
)
LINE = {"id": "1", "reference": "No effusion is seen today.", "candidate": "No effusion is seen today."}
LABELLED = {**LINE, "reference_labels": [1] + [0] * 13, "candidate_labels": [1, 1] + [0] * 12}


def write(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def answer(messages: Sequence[Message]) -> Completion:
    return Completion(ANSWER, 1000, 100)


def run(predictions: Path, asked: Asked | None = None) -> tuple[str, dict[str, Any], Path]:
    printed, folder = io.StringIO(), predictions.parent / "out"
    evaluate(predictions, folder, asked or Asked(), Console(file=printed, width=160))
    return printed.getvalue(), json.loads((folder / JSON_NAME).read_text(encoding="utf-8")), folder


def test_a_perfect_candidate_scores_100_and_what_is_lacking_is_said(tmp_path: Path) -> None:
    printed, written, folder = run(write(tmp_path / "p.jsonl", LINE, {**LINE, "id": "2"}))
    values = {metric["name"]: metric["shown"] for metric in written["metrics"]}
    assert values == {name: pytest.approx(100) for name in ("ROUGE-L", "BLEU-1", "BLEU-4", "BLEU-4 (RadEval)")}
    assert "chexbert.pth" in printed
    assert "radgraph.tar.gz" in printed
    assert "effusion" not in (folder / JSON_NAME).read_text(encoding="utf-8")


def test_everything_that_was_asked_for_is_in_the_table_the_json_and_the_picture(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.jsonl", *({**LABELLED, "id": str(number)} for number in range(12)))
    np.savez(tmp_path / "e.npz", image=np.eye(12), text=np.eye(12))
    asked = Asked((tmp_path / "e.npz",), (Judge("gpt-test", answer),), (1.0, 10.0))
    printed, written, folder = run(predictions, asked)
    for words in ("Label F1-14 macro", "CheXprompt", "gpt-test: 12 rated", "13,200 tokens, 0.02 USD", "image → report"):
        assert words in printed
    assert NOT_COMPARABLE in " ".join(printed.split())
    assert written["chexprompt"][0]["mean_errors"]["value"] == 2.0
    assert written["retrieval"]["image → report"]["recall"]["1"] == 1.0
    assert written["label_f1"] == {"Enlarged Cardiomediastinum": 1.0, "Cardiomegaly": 0.0}
    plain = write(tmp_path / "plain.jsonl", LINE)
    with Image.open(folder / PICTURE_NAME) as full:
        full_size = full.size
    run(plain)
    with Image.open(folder / PICTURE_NAME) as small:
        assert small.size[1] < full_size[1]
        assert len(small.getcolors(1 << 24) or []) > 20


def test_the_same_file_gives_the_same_numbers(tmp_path: Path) -> None:
    lines = [{"id": str(n), "reference": f"no effusion {n % 3}", "candidate": f"effusion {n % 5}"} for n in range(30)]
    predictions = write(tmp_path / "p.jsonl", *lines)
    asked = Asked(judge=(Judge("gpt-test", answer),))
    assert run(predictions, asked)[1] == run(predictions, asked)[1]


def test_empty_candidates_are_counted_and_score_0(tmp_path: Path) -> None:
    printed, written, _ = run(write(tmp_path / "p.jsonl", {**LINE, "candidate": " "}))
    assert "1 candidates are empty" in printed
    assert {metric["shown"] for metric in written["metrics"]} == {0.0}


def test_the_files_of_the_paper_s_code_are_read_and_ids_are_optional(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl", {"reference": "a\u2028b", "prediction": "c"}, "", {"reference": "d", "prediction": "e"}
    )
    assert [(pair.id, pair.candidate) for pair in read_pairs(path)] == [("1", "c"), ("3", "e")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "holds no pairs"),
        ([LINE, "SECRET {"], "line 2 is not JSON"),
        (["[1]"], "line 1 is not a JSON object"),
        (["[" * 100_000], "line 1 is not JSON"),
        (['{"id": ' + "1" * 5_000 + "}"], "line 1 is not JSON"),
        ([{"id": 1, "candidate": "SECRET"}], "line 1 has no text `reference`"),
        ([{"id": 1, "reference": "SECRET", "candidate": None}], "line 1 has no text `candidate`"),
        ([LINE, LINE], "pair 2 has the id of an earlier one"),
        ([{**LINE, "reference_labels": "1"}], "`reference_labels` is not a list"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_by_its_number(tmp_path: Path, lines: list[Any], words: str) -> None:
    with pytest.raises(Permanent, match=words) as caught:
        read_pairs(write(tmp_path / "p.jsonl", *lines))
    assert "SECRET" not in str(caught.value)


def test_a_file_may_begin_with_a_bom(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(LINE).encode() + b"\r\n")
    assert [pair.id for pair in read_pairs(tmp_path / "p.jsonl")] == ["1"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.jsonl", LINE)
    with pytest.raises(StorageFull, match=r"p\.jsonl cannot be written: File exists"):
        evaluate(predictions, predictions, Asked(), Console(file=io.StringIO()))


def test_a_full_disk_is_told_and_keeps_what_was_rated(tmp_path: Path) -> None:
    lines = [{"id": str(number), "reference": "a", "candidate": "b"} for number in range(30)]
    predictions = write(tmp_path / "p.jsonl", *lines)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(StorageFull, match=r"chexprompt\.jsonl cannot be written: File too large"):
            run(predictions, Asked(judge=(Judge("m", answer),)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    asked: list[Sequence[Message]] = []

    def counting(messages: Sequence[Message]) -> Completion:
        asked.append(messages)
        return answer(messages)

    _, written, _ = run(predictions, Asked(judge=(Judge("m", counting),)))
    assert written["chexprompt"][0]["rated"] == 30
    assert 0 < len(asked) < 30


def test_embeddings_of_another_number_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", image=np.eye(3), text=np.eye(3))
    with pytest.raises(Permanent, match="3 rows, the predictions 1"):
        run(write(tmp_path / "p.jsonl", LINE), Asked((tmp_path / "e.npz",)))


def test_a_judge_without_one_usable_answer_is_an_error(tmp_path: Path) -> None:
    silent = Judge("gpt-test", lambda _: Completion("", 1, 0), lambda _: None)
    with pytest.raises(Permanent, match="no usable answer to any pair"):
        run(write(tmp_path / "p.jsonl", LINE), Asked(judge=(silent,)))


def test_a_judge_needs_a_model_and_a_key_file_that_exists(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="--judge-model"):
        make_judge("http://localhost/v1", "", None)
    with pytest.raises(Permanent, match="cannot be read"):
        make_judge("http://localhost/v1", "m", tmp_path / "absent")


def test_the_command_writes_beside_the_file_and_asks_no_judge_unbidden(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.jsonl", LINE)
    result = CliRunner().invoke(app, ["evaluate", str(predictions)])
    assert result.exit_code == 0, result.output
    assert "ROUGE-L" in result.output
    assert sorted(path.name for path in (tmp_path / "p-evaluation").iterdir()) == [JSON_NAME, PICTURE_NAME]
