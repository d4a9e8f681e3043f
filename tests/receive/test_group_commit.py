"""Who commits for whom."""

import threading
from collections.abc import Sequence

import pytest
from waiting import LONG_S, in_threads, wait_until

from dicom_node.receive.group_commit import GroupCommit


class Book:
    """Commits that can be held up; what is below zero cannot be committed."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        assert self.go_on.wait(LONG_S)
        if min(items) < 0:
            raise ValueError("below zero")
        return [10 * item for item in items]


@pytest.fixture
def book() -> Book:
    return Book()


def test_one_alone_is_committed_at_once(book: Book) -> None:
    commit = GroupCommit(book)
    assert [commit.add(1), commit.add(2)] == [10, 20]
    assert book.groups == [[1], [2]]


def held_up(book: Book, items: Sequence[int]) -> dict[int, object]:
    """Add 0, which is held up until all others wait; what each got."""
    commit, found, threads = GroupCommit(book), {}, []

    def add(item: int) -> None:
        try:
            found[item] = commit.add(item)
        except ValueError as error:
            found[item] = str(error)

    book.go_on.clear()
    for item in (0, *items):
        threads.append(threading.Thread(target=add, args=(item,)))
        threads[-1].start()
        wait_until(lambda: len(commit._waiting) == len(threads) - 1 and book.groups, "it waits")
    book.go_on.set()
    for thread in threads:
        thread.join(LONG_S)
    return found


def test_whoever_waits_is_committed_together(book: Book) -> None:
    assert held_up(book, [1, 2, 3]) == {0: 0, 1: 10, 2: 20, 3: 30}
    assert book.groups == [[0], [1, 2, 3]]


def test_a_fault_is_for_whom_it_belongs_to(book: Book) -> None:
    assert held_up(book, [1, -2, 3]) == {0: 0, 1: 10, -2: "below zero", 3: 30}
    assert book.groups == [[0], [1, -2, 3], [1], [-2], [3]]


def test_many_threads_get_each_their_own(book: Book) -> None:
    commit, numbers = GroupCommit(book), iter(range(2000))
    lock = threading.Lock()

    def work() -> None:
        for _ in range(250):
            with lock:
                number = next(numbers)
            assert commit.add(number) == 10 * number

    in_threads(work, 8)
    assert sorted(number for group in book.groups for number in group) == list(range(2000))
