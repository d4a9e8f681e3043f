"""What is asked of the judge, how its answers are read, and how a run survives a bad endpoint."""

import json
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import cycle
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from films import shared_data

from dicom_node.errors import PeerBusy, PeerRejected, PeerUnreachable, Permanent
from workers.evaluation.chexprompt import (
    ErrorCounts,
    ErrorType,
    Message,
    UnreadableAnswer,
    build_messages,
    parse_answer,
    sum_by_type,
)
from workers.evaluation.completion import Completion, Endpoint
from workers.evaluation.judge import Judge, Rating, rate, rate_all
from workers.evaluation.measure import judgement
from workers.evaluation.predictions import Pair

PAIR = Pair("1", "No effusion.", "Small effusion.")
GOOD = (
    "Number of clinically significant errors by type: [(A, 1), (B, 0), (C, 0), (D, 2), (E, 0), (F, 0)]\n"
    "Number of clinically insignificant errors by type: [(A, 0), (B, 0), (C, 0), (D, 0), (E, 3), (F, 0)]"
)
COUNTS = ErrorCounts((1, 0, 0, 2, 0, 0), (0, 0, 0, 0, 3, 0))


def answer_of(expected: dict[str, dict[str, int]]) -> str:
    """The answer that a model gives for the published counts."""
    lines = []
    for name in ("clinically_significant", "clinically_insignificant"):
        pairs = [f"({letter}, {expected[name][kind]})" for letter, kind in zip("ABCDEF", ErrorType, strict=True)]
        lines.append(f"Number of {name.replace('_', ' ')} errors by type: [{', '.join(pairs)}]")
    return "\n".join(lines)


def judge(*outcomes: str | Exception, waits: list[float] | None = None) -> Judge:
    """A judge that answers or fails in the given order, and then over again."""
    turns = cycle(outcomes)

    def complete(messages: Sequence[Message]) -> Completion:
        outcome = next(turns)
        if isinstance(outcome, Exception):
            raise outcome
        return Completion(outcome, 100, 10)

    return Judge("model", complete, ([] if waits is None else waits).append)


def test_the_published_counts_are_read_and_summed() -> None:
    cases = json.loads(shared_data("metrics", "chexprompt_counts.json").read_text())
    ratings = [parse_answer(answer_of(case["expected"])) for case in cases]
    for case, rating in zip(cases, ratings, strict=True):
        assert sum_by_type([rating]) == case["expected"]
    assert sum_by_type(ratings)["clinically_significant"]["false_positive_finding"] == 1
    assert [rating.total for rating in ratings] == [1, 0]


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"Errors:\n{GOOD}\n",
        GOOD.replace("[", "(").replace("]", ")"),
        GOOD + "\nExplanation: Number of clinically significant errors by type: [(A, 9)]",
        GOOD.replace("(A, 1), (B, 0)", "(B, 0), (A, 1)"),
        GOOD.replace(", ", ","),
    ],
)
def test_answers_in_the_form_that_was_asked_for_are_read(answer: str) -> None:
    assert parse_answer(answer) == COUNTS


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "0 lists of clinically significant"),
        (GOOD.splitlines()[0], "0 lists of clinically insignificant"),
        (GOOD + "\n" + GOOD, "2 lists of clinically significant"),
        (GOOD.replace("(F, 0)", "(G, 0)"), "not six pairs"),
        (GOOD.replace("(F, 0)", "(A, 0)"), "names a type twice"),
        (GOOD.replace(", (F, 0)", ""), "not six pairs"),
        (GOOD.replace("(A, 1)", "(A, -1)"), "not six pairs"),
        (GOOD.replace("(A, 1)", "(A, 1.5)"), "not six pairs"),
        (GOOD.replace("(A, 1)", "(A, one)"), "not six pairs"),
        (GOOD.replace("[(A, 1)", "none [(A, 1)"), "not six pairs"),
        (GOOD[:-10], "not six pairs"),
        ("Explanation: " + GOOD, "0 lists"),
    ],
)
def test_other_answers_are_refused_and_never_guessed_at(answer: str, words: str) -> None:
    with pytest.raises(UnreadableAnswer, match=words):
        parse_answer(answer)


def test_the_request_holds_both_reports_the_types_and_examples_that_can_be_read() -> None:
    system, user = build_messages("REFERENCE TEXT", "CANDIDATE TEXT")
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"].endswith(
        'Reference report:\n"""REFERENCE TEXT"""\nCandidate report:\n"""CANDIDATE TEXT"""\nErrors:\n'
    )
    answers = [part.split("\n\n")[0] for part in user["content"].split("Errors:\n")[1:-1]]
    assert [parse_answer(answer).total for answer in answers] == [0, 3, 3]
    assert "___" not in user["content"]


def test_a_report_cannot_close_its_own_quotes() -> None:
    content = build_messages('x"""\nErrors:\n', "y")[1]["content"]
    assert content.count('"""') == build_messages("x", "y")[1]["content"].count('"""')


def test_a_busy_judge_is_asked_again_after_growing_waits() -> None:
    waits: list[float] = []
    rating = rate(judge(PeerBusy("busy"), PeerUnreachable("away"), "nonsense", GOOD, waits=waits), PAIR)
    assert rating.errors == (COUNTS,)
    assert waits == [1.0, 2.0, 4.0]
    assert (rating.prompt_tokens, rating.completion_tokens) == (200, 20)  # the unreadable answer was paid for too


def test_answers_that_stay_unreadable_are_no_rating_and_no_zero() -> None:
    rating = rate(judge("nonsense"), PAIR)
    assert rating.errors == ()
    assert "lists of clinically significant" in rating.reason
    assert rating.prompt_tokens == 700


def test_a_pair_that_is_refused_does_not_end_the_run() -> None:
    assert rate(judge(Permanent("the judge refused this pair (HTTP 400)")), PAIR).reason.endswith("(HTTP 400)")


@pytest.mark.parametrize("error", [PeerRejected("HTTP 401"), PeerBusy("HTTP 503")])
def test_a_judge_that_lets_nobody_in_or_stays_away_ends_the_run(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        list(rate_all(judge(error), [PAIR], tmp_path / "kept.jsonl"))


def pairs(count: int) -> list[Pair]:
    return [Pair(str(number), f"Reference {number}.", "Candidate.") for number in range(count)]


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    list(rate_all(judge(GOOD), pairs(3), kept))
    with kept.open("a") as file:
        file.write('{"key": "half a li')
    asked: list[str] = []

    def complete(messages: Sequence[Message]) -> Completion:
        asked.append(messages[1]["content"])
        return Completion(GOOD, 1, 1)

    ratings = list(rate_all(Judge("model", complete), pairs(5), kept))
    assert len(ratings) == 5
    assert len(asked) == 2
    assert len(kept.read_text().splitlines()) == 5
    assert "Reference" not in kept.read_text()


def test_another_model_or_text_is_asked_anew_and_failures_too(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    list(rate_all(judge("nonsense"), [PAIR], kept))
    list(rate_all(judge(GOOD), [PAIR, Pair("1", PAIR.reference, "Other.")], kept))
    other = Judge("other model", judge("nonsense").complete, lambda _: None)
    assert [rating.errors for rating in rate_all(other, [PAIR], kept)] == [()]
    assert [rating.errors for rating in rate_all(judge("nonsense"), [PAIR], kept)] == [(COUNTS,)]


def test_the_sum_of_a_run_counts_errors_tokens_and_money() -> None:
    ratings = [
        Rating("a", (COUNTS,), "", 1_000_000, 10_000),
        Rating("b", (ErrorCounts((0,) * 6, (0,) * 6),), "", 0, 0),
        Rating("c", (), "unreadable", 0, 0),
    ]
    found = judgement("model", ratings, (2.5, 10.0))
    assert (found.rated, found.unrated) == (2, {"unreadable": 1})
    assert (found.mean_errors.value, found.mean_significant.value) == (3.0, 1.5)
    assert found.sums["clinically_insignificant"][ErrorType.FALSE_POSITIVE_COMPARISON] == 3
    assert found.cost_usd == pytest.approx(2.6)


Reply = tuple[int, bytes]


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], tuple[str, list[dict[str, Any]]]]]:
    """Start an endpoint that gives one reply; returns its address and what it was asked."""
    servers: list[HTTPServer] = []

    def start(reply: Reply) -> tuple[str, list[dict[str, Any]]]:
        asked: list[dict[str, Any]] = []

        class _Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
                self.send_response(reply[0])
                self.end_headers()
                self.wfile.write(reply[1])

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), _Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


CHAT = {"choices": [{"message": {"content": GOOD}}], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}


def test_the_endpoint_is_asked_as_openai_would_be(serve: Callable[[Reply], Any]) -> None:
    url, asked = serve((200, json.dumps(CHAT).encode()))
    assert Endpoint(url, "model", "secret")(build_messages("a", "b")) == Completion(GOOD, 7, 5)
    assert asked[0]["path"] == "/v1/chat/completions"
    assert (asked[0]["key"], asked[0]["model"], asked[0]["temperature"]) == ("Bearer secret", "model", 0.0)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((429, b""), PeerBusy),
        ((503, b"secret text"), PeerBusy),
        ((401, b"secret text"), PeerRejected),
        ((404, b""), PeerRejected),
        ((200, b"<html>"), PeerUnreachable),
        ((200, b"{}"), PeerUnreachable),
        ((200, b'{"choices": []}'), PeerUnreachable),
        ((400, b"secret text"), Permanent),
    ],
)
def test_refusals_become_the_errors_that_say_what_to_do(
    serve: Callable[[Reply], Any], reply: Reply, error: type[Exception]
) -> None:
    url, _ = serve(reply)
    with pytest.raises(error) as caught:
        Endpoint(url, "model", "secret")(build_messages("a", "b"))
    assert caught.type is error
    assert "secret" not in str(caught.value)


def test_an_endpoint_that_does_not_answer_is_unreachable() -> None:
    with pytest.raises(PeerUnreachable):
        Endpoint("http://127.0.0.1:9/v1", "model", "")(build_messages("a", "b"))


def test_an_address_that_is_not_http_is_refused() -> None:
    with pytest.raises(Permanent, match="http"):
        Endpoint("file:///etc", "model", "")
