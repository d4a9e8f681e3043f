"""Reports prepared by a chat model, which here is a server of the test's own."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from dicom_node.errors import PeerBusy, PeerRejected, PeerUnreachable, Permanent
from workers.evaluation.chexprompt import Message
from workers.evaluation.completion import Complete, Completion
from workers.training.preparation import (
    Task,
    main,
    prepare_all,
    structure_report,
    synthesise_report,
    translate_report,
)

REPORT = "INDICATION: Cough.\nFINDINGS: The lungs are clear. Heart size\nis normal. IMPRESSION: No acute disease."
SECTIONS = {
    "reason": "Cough.",
    "findings": "The lungs are clear. Heart size is normal.",
    "impression": "No acute disease.",
}


def _model(*answers: str | Exception) -> tuple[Complete, list[Sequence[Message]]]:
    """A chat model that gives these answers, and what it was asked."""
    asked: list[Sequence[Message]] = []

    def complete(messages: Sequence[Message]) -> Completion:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(messages)
        if isinstance(answer, Exception):
            raise answer
        return Completion(answer, 1, 1)

    return complete, asked


@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```"])
def test_a_report_is_sorted_into_sections(form: str) -> None:
    complete, asked = _model(form.replace("{}", json.dumps(SECTIONS)))

    assert structure_report(complete, REPORT) == SECTIONS
    assert asked[0][1]["content"] == REPORT


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            json.dumps(SECTIONS | {"findings": "The lungs are clear. Small effusion."}),
            "findings is not in the report's",
        ),
        (json.dumps({"findings": "Cough."}), "no JSON object"),
        ("[]", "no JSON object"),
        ("I cannot help.", "no JSON object"),
        (" ", "the answer is empty"),
    ],
)
def test_an_answer_that_invents_or_is_no_object_is_refused(answer: str, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        structure_report(_model(answer)[0], REPORT)


@pytest.mark.parametrize(
    ("report", "findings"),
    [
        ("No effusion. Heart normal.", "Effusion. Heart normal."),
        ("There is no mass effect.", "mass"),
        ("Effusion is unlikely.", "Effusion"),
        ("Effusion: none.", "Effusion."),
        ("No large\neffusion.", "Effusion."),
    ],
)
def test_a_part_of_a_sentence_is_not_what_the_report_says(report: str, findings: str) -> None:
    with pytest.raises(Permanent, match="findings is not in the report's"):
        structure_report(_model(json.dumps(SECTIONS | {"findings": findings}))[0], f"{REPORT}\n{report}")


@pytest.mark.parametrize(
    ("report", "findings"),
    [
        ("FINDINGS:\n- Clear lungs\n- No effusion", "Clear lungs. No effusion."),
        ("A nodule of 3.5 cm;\nno effusion", "A nodule of 3.5 cm. No effusion"),
        ("Clear  LUNGS\nNo effusion", "Clear lungs\nNo effusion"),
        ("Lungs: clear. Heart normal.", "Heart normal. Clear."),
    ],
)
def test_sentences_may_be_set_otherwise(report: str, findings: str) -> None:
    sections = SECTIONS | {"findings": findings}
    assert structure_report(_model(json.dumps(sections))[0], f"{REPORT}\n{report}") == sections


def test_a_section_that_the_report_lacks_is_empty() -> None:
    answer = json.dumps(SECTIONS | {"impression": ""})

    assert structure_report(_model(answer)[0], REPORT)["impression"] == ""


def test_labels_and_foreign_reports_are_sent_as_they_are() -> None:
    complete, asked = _model(" Small effusion. ")

    assert synthesise_report(complete, ["Pleural Effusion: present", "Edema: absent"]) == "Small effusion."
    assert translate_report(complete, "Derrame pequeño.") == "Small effusion."
    assert [messages[1]["content"] for messages in asked] == [
        "Pleural Effusion: present\nEdema: absent",
        "Derrame pequeño.",
    ]


def _write(path: Path, *entries: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_stopped_run_asks_only_for_the_rest(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", *({"id": str(n), "report": f"Informe {n}."} for n in range(3)))
    dest = _write(tmp_path / "out.jsonl", {"id": "1", "report": "Kept."})
    with dest.open("a", encoding="utf-8") as file:
        file.write('{"id": "2", "rep')  # where the run before was killed
    complete, asked = _model("Report.")

    assert list(prepare_all(complete, Task.TRANSLATE, source, dest)) == []

    assert [entry["id"] for entry in _read(dest)] == ["1", "0", "2"]
    assert len(asked) == 2


def test_a_run_goes_on_after_a_text_with_foreign_line_ends(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", {"id": "1", "report": "Informe."}, {"id": "2", "report": "Informe."})
    complete, asked = _model("Report.\u2028More.\x85More.")

    for _ in range(2):
        assert list(prepare_all(complete, Task.TRANSLATE, source, tmp_path / "out.jsonl")) == []
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("line", "words"), [(b'{"id": [1]}', "line 1 is not a JSON object with an id"), (b'{"id": "\xff"}', "UTF-8")]
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, line: bytes, words: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(line)
    with pytest.raises(Permanent, match=words):
        list(prepare_all(_model("Report.")[0], Task.TRANSLATE, tmp_path / "in.jsonl", tmp_path / "out.jsonl"))


def test_a_line_that_cannot_be_used_is_left_out_and_named(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "in.jsonl", {"id": "a", "labels": ["Edema"]}, {"id": "b", "labels": "Edema"}, {"id": "c"}
    )

    left_out = list(prepare_all(_model("Edema.")[0], Task.SYNTHESISE, source, tmp_path / "out.jsonl"))

    assert left_out == ["b: expected a list `labels`", "c: expected a list `labels`"]
    assert _read(tmp_path / "out.jsonl") == [{"id": "a", "findings": "Edema."}]


def test_a_busy_endpoint_is_waited_for(tmp_path: Path) -> None:
    source, waits_s = _write(tmp_path / "in.jsonl", {"id": "a", "report": "Sano."}), list[float]()
    complete, _ = _model(PeerBusy("later"), PeerUnreachable("gone"), "Healthy.")

    assert not list(prepare_all(complete, Task.TRANSLATE, source, tmp_path / "out.jsonl", sleep=waits_s.append))

    assert waits_s == [1.0, 2.0]
    assert _read(tmp_path / "out.jsonl") == [{"id": "a", "report": "Healthy."}]


@pytest.mark.parametrize("error", [PeerBusy("later"), PeerRejected("no")])
def test_an_endpoint_that_stays_away_or_lets_nobody_in_ends_the_run(tmp_path: Path, error: Exception) -> None:
    source = _write(tmp_path / "in.jsonl", {"id": "a", "report": "Sano."})

    with pytest.raises(type(error)):
        list(prepare_all(_model(error)[0], Task.TRANSLATE, source, tmp_path / "out.jsonl", sleep=lambda _: None))


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """An OpenAI-compatible server that translates everything alike, and what it was sent."""
    asked: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
            answer = json.dumps({"choices": [{"message": {"content": "Healthy."}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    server.server_close()


def test_the_command_asks_an_endpoint_that_speaks_openais_protocol(
    tmp_path: Path, endpoint: tuple[str, list[dict[str, object]]]
) -> None:
    url, asked = endpoint
    source, key = _write(tmp_path / "in.jsonl", {"id": "a", "report": "Sano."}), tmp_path / "key"
    key.write_text("secret\n", encoding="utf-8")

    arguments = ["translate", str(source), str(tmp_path / "out.jsonl"), "--url", url, "--model", "m"]
    result = CliRunner().invoke(_app(main), [*arguments, "--key-file", str(key)])

    assert result.exit_code == 0, result.output
    assert _read(tmp_path / "out.jsonl") == [{"id": "a", "report": "Healthy."}]
    assert (asked[0]["path"], asked[0]["key"]) == ("/v1/chat/completions", "Bearer secret")
    assert (asked[0]["model"], asked[0]["max_tokens"], asked[0]["temperature"]) == ("m", 1024, 0.0)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("{}\n", encoding="utf-8")

    arguments = ["structure", str(source), str(tmp_path / "out"), "--url", "http://127.0.0.1:9", "--model", "m"]
    result = CliRunner().invoke(_app(main), arguments)

    assert result.exit_code == 1
    assert "Stopped: line 1 is not a JSON object with an id" in result.output


def _app(command: Callable[..., None]) -> Typer:
    app = Typer()
    app.command()(command)
    return app
