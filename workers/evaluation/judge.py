"""Rate all pairs by CheXprompt, several at a time, each result kept at once: a stopped run goes on where it was."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_node.errors import PeerRejected, Permanent, StorageFull, Transient
from workers.evaluation.chexprompt import (
    PROMPT_VERSION,
    ErrorCounts,
    UnreadableAnswer,
    build_messages,
    parse_answer,
)
from workers.evaluation.completion import PARALLEL, WAITS_S, Complete
from workers.evaluation.predictions import Pair


@dataclass(frozen=True)
class Judge:
    """Who rates: the model's name (another name is another rating), how to ask it, and how to wait."""

    model: str
    complete: Complete
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Rating:
    """One pair's result; `errors` is empty, and `reason` says why, if no answer could be used. Holds no text."""

    key: str
    errors: tuple[ErrorCounts, ...]
    reason: str
    prompt_tokens: int
    completion_tokens: int


def rate(judge: Judge, pair: Pair) -> Rating:
    """Ask until an answer can be read, with growing waits.

    Raises Transient if the judge stays away, PeerRejected if it lets nobody in: both end the run.
    """
    used = [0, 0]
    waits_s = iter(WAITS_S)
    while True:
        try:
            return _ask(judge, pair, used)
        except PeerRejected:
            raise
        except (Transient, UnreadableAnswer) as error:
            wait_s = next(waits_s, 0.0)
            if not wait_s and isinstance(error, Transient):
                raise
            if not wait_s:
                return Rating(rating_key(judge, pair), (), str(error), *used)
            judge.sleep(wait_s)
        except Permanent as error:
            return Rating(rating_key(judge, pair), (), str(error), *used)


def rate_all(judge: Judge, pairs: Sequence[Pair], kept: Path) -> Iterator[Rating]:
    """Yield a rating for every pair, those in the file `kept` first; new ones are appended to it as they come.

    A pair without a usable answer is asked again in the next run. Raises StorageFull where the file cannot be written.
    """
    known = _read_kept(kept)
    keys = {rating_key(judge, pair): pair for pair in pairs}
    # Written anew: the last line of a killed run may be half a line.
    whole = kept.with_suffix(".part")
    with storing(kept):
        whole.write_text("".join(_line(rating) for rating in known.values()), encoding="utf-8")
        whole.replace(kept)
    yield from (known[key] for key in keys if key in known)
    for rating in _rate_rest(judge, [pair for key, pair in keys.items() if key not in known]):
        with storing(kept), kept.open("a", encoding="utf-8") as file:
            file.write(_line(rating))
        yield rating


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Raises StorageFull, naming the path, for what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise StorageFull(f"{path} cannot be written: {error.strerror or type(error).__name__}") from error


def rating_key(judge: Judge, pair: Pair) -> str:
    """Equal keys are equal questions to an equal model."""
    question = json.dumps([PROMPT_VERSION, judge.model, pair.id, pair.reference, pair.candidate])
    return hashlib.sha256(question.encode()).hexdigest()


def _ask(judge: Judge, pair: Pair, used: list[int]) -> Rating:
    completion = judge.complete(build_messages(pair.reference, pair.candidate))
    used[0] += completion.prompt_tokens
    used[1] += completion.completion_tokens
    return Rating(rating_key(judge, pair), (parse_answer(completion.text),), "", *used)


def _rate_rest(judge: Judge, pairs: Sequence[Pair]) -> Iterator[Rating]:
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="judge") as pool:
        futures = [pool.submit(rate, judge, pair) for pair in pairs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _line(rating: Rating) -> str:
    return json.dumps(asdict(rating)) + "\n"


def _read_kept(path: Path) -> dict[str, Rating]:
    if not path.exists():
        return {}
    ratings = (_parse(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {rating.key: rating for each in ratings for rating in each if rating.errors}


def _parse(line: str) -> list[Rating]:
    """Nothing if the line is not whole: that pair is asked again."""
    try:
        entry = json.loads(line)
        entry["errors"] = tuple(
            ErrorCounts(tuple(each["significant"]), tuple(each["insignificant"])) for each in entry["errors"]
        )
        return [Rating(**entry)]
    except (ValueError, KeyError, TypeError):
        return []
