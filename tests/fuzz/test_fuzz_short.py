"""A little of the fuzzing with every run of the tests: all that was ever found, and some seconds of looking for more.

The long run is `make fuzz`.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from corpus import kept, lay_out
from seeds import seeds_of
from slices import fuzz
from targets import TARGETS, make_small, stream

from dicom_node.receive.pdus import PduBuffer

EXECUTIONS = {"stream": 6_000, "data_set": 1_500}
ROUNDS = 6
LONGEST_S = 1.0  # of CPU, for one input
GROWTH_BYTES = 2_000_000


class OneBuffer(PduBuffer):
    """A mistake: what was handed on is overwritten by what comes next."""

    def _turn_over(self) -> None:
        rest = bytes(self._view[self._at : self._end])
        super()._turn_over()
        self._other, self._view = self._view, self._other
        if len(self._view) < self._size:
            self._view = memoryview(bytearray(self._size))
        self._view[: len(rest)] = rest


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(lambda module, name, size: monkeypatch.setattr(module, name, size))


@pytest.mark.filterwarnings("ignore:(Invalid value|The value length)")  # pynetdicom's, of strange identifiers
@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_once_is_taken_quickly_and_leaves_nothing_behind(target: str) -> None:
    inputs = [*kept(target), *seeds_of(target, with_published=True)]
    memory = [_memory_bytes() for _ in range(ROUNDS) for _ in _take(target, inputs)]
    assert memory[-1] <= memory[len(memory) // 2] + GROWTH_BYTES


def test_the_corpus_tells_a_buffer_that_is_overwritten_too_early() -> None:
    """The rules can be broken: otherwise nothing above says anything."""

    def take_all() -> None:
        for each in (*kept("stream"), *seeds_of("stream", with_published=False)):
            stream(each, OneBuffer)

    with pytest.raises(AssertionError, match=r"overwritten|other messages"):
        take_all()


def test_some_seconds_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: there is none for this platform")

    def look(target: str) -> tuple[str, int]:
        folder = tmp_path / target
        arguments = lay_out(target, folder, with_published=False)
        return fuzz(target, [*arguments, f"-runs={EXECUTIONS[target]}", "-seed=1", f"-artifact_prefix={folder}/"])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for target, (said, code) in zip(TARGETS, pool.map(look, TARGETS), strict=True):
            assert code == 0, said[-3000:]
            assert f"Done {EXECUTIONS[target]} runs" in said


def _take(target: str, inputs: list[bytes]) -> Iterator[None]:
    for number, each in zip(count(), inputs, strict=False):
        began = time.thread_time()
        TARGETS[target](each)
        assert time.thread_time() - began < LONGEST_S, f"input {number} of {target}"
    yield


def _memory_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
