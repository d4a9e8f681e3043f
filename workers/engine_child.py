"""The child's side of `engine_process.py`: load the engine, say who it is, then answer one question after the other."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from setproctitle import setproctitle

from dicom_node.errors import EngineLost, NodeError, Permanent
from workers.llavarad.findings import Writer

PROCESS_NAME = "cxr-engine"
# Makes the writer inside the child: (model_dir, max_new_tokens). Must be importable by name, since it is pickled.
Factory = Callable[[Path, int], Writer]
Pipe: TypeAlias = "Connection[object, object]"  # a class that cannot be subscripted when it runs
Question = tuple[NDArray[np.uint8], str | None]
Result = TypeVar("Result")


def load_engine(model_dir: Path, max_new_tokens: int) -> Writer:
    """The real engine. Imported here, so that the parent never loads torch."""
    from workers.llavarad.engine import Engine

    return Engine.load(model_dir, max_new_tokens=max_new_tokens)


def serve(pipe: Pipe, factory: Factory, model_dir: Path, max_new_tokens: int) -> None:
    """The life of the child. It ends with its parent, on SIGTERM when idle, or after an EngineLost."""
    _leave_with_the_parent()
    setproctitle(PROCESS_NAME)
    terminate = _Terminate()
    with terminate.not_while_leaving(), suppress(EOFError, BrokenPipeError, ConnectionResetError):
        loaded = _attempt(partial(factory, model_dir, max_new_tokens))
        if isinstance(loaded, NodeError):
            pipe.send(loaded)
            return
        pipe.send(loaded.identity)
        _answer_questions(pipe, loaded, terminate)


def _answer_questions(pipe: Pipe, writer: Writer, terminate: "_Terminate") -> None:
    while True:
        pixels, indication = cast(Question, pipe.recv())
        with terminate.later():
            answer = _attempt(partial(writer.write_findings, pixels, indication))
            pipe.send(answer)
        if isinstance(answer, EngineLost):
            return


def _attempt(work: Callable[[], Result]) -> Result | NodeError:
    try:
        return work()
    except NodeError as error:
        return error
    except Exception as error:  # noqa: BLE001 - the parent must learn of any failure, or it would wait for the timeout
        return Permanent(f"the model failed with {_type_and_place(error)}")


def _type_and_place(error: Exception) -> str:
    # Not the error's own text, which may quote the indication.
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"


def _leave_with_the_parent() -> None:
    """Exit as soon as the parent is gone, even in the middle of a draft and even if it was killed with SIGKILL."""
    parent = parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), name="parent-watch", daemon=True).start()


class _Terminate:
    """SIGTERM ends an idle child at once and a busy one after its answer; SIGINT is the parent's business.

    A service manager signals the whole group: the parent, finishing its work, still needs the draft it waits for.
    """

    def __init__(self) -> None:
        self._is_busy = False
        self._is_asked = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_signal)

    @contextmanager
    def later(self) -> Iterator[None]:
        self._is_busy = True
        yield
        self._is_busy = False
        if self._is_asked:
            sys.exit(0)

    @contextmanager
    def not_while_leaving(self) -> Iterator[None]:
        """A child that ends already is not interrupted in it."""
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._is_asked = True
        if not self._is_busy:
            sys.exit(0)
