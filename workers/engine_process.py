"""The model in a process of its own: what crashes, hangs or fills the memory there does not take the worker with it.

Threads call `EngineProcess.write_findings` and wait in line; one call at a time goes to the child over a pipe. The
child is spawned, never forked (CUDA does not survive a fork). Its side of the pipe is in `engine_child.py`.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import BadCheckpoint, EngineAway, EngineLost, NodeError
from workers.engine_child import PROCESS_NAME, Factory, load_engine, serve
from workers.llavarad.findings import EngineIdentity, Findings

# A process that closed its pipe is on its way out; so long we wait to learn its exit code before killing it.
_EXIT_WAIT_S = 1.0


class EngineProcess:
    """A `Writer` whose engine lives in a supervised child process, restarted by the next call after it was lost."""

    def __init__(
        self,
        model_dir: Path,
        *,
        max_new_tokens: int,
        timeout_s: float,
        load_timeout_s: float = 900.0,
        factory: Factory = load_engine,
    ) -> None:
        """timeout_s: longest time of one draft, waiting in line not counted. load_timeout_s: of loading the model."""
        self._arguments = (factory, model_dir, max_new_tokens)
        self._timeout_s = timeout_s
        self._load_timeout_s = load_timeout_s
        self._line = _Line()
        self._child: _Child | None = None
        self._identity: EngineIdentity | None = None
        self._is_closed = False
        self._ready: _Child | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded at this moment; one that was lost is loaded anew by the next call."""
        child = self._ready
        return child is not None and child is self._child and child.is_alive()

    def start(self) -> None:
        """Return when the model is ready. Raises BadCheckpoint, or EngineLost if loading crashed or took too long."""
        with self._line.turn():
            self._living_child()

    @property
    def identity(self) -> EngineIdentity:
        """Raises EngineLost before the first start."""
        if self._identity is None:
            raise EngineLost("the model's process was not started")
        return self._identity

    def write_findings(self, pixels: NDArray[np.uint8], indication: str | None) -> Findings:
        """Draft the findings of one frontal radiograph; callable from any thread, first come, first served.

        pixels: (H, W), 0 black to 255 white. Raises EngineLost if the process died or hung, EngineAway or BadCheckpoint
        if there is none and none can be had; what the engine itself raises comes back as the same class.
        """
        with self._line.turn():
            answer = self._child_to_ask().ask((pixels, indication), timeout_s=self._timeout_s)
        if not isinstance(answer, Findings):
            raise EngineLost(f"the model's process answered with {type(answer).__name__}")
        return answer

    def close(self) -> None:
        """End the process at once; a draft in work is lost, and later calls raise EngineLost."""
        self._is_closed = True
        if self._child is not None:
            self._child.kill()

    def _child_to_ask(self) -> "_Child":
        try:
            return self._living_child()
        except BadCheckpoint:
            raise
        except NodeError as error:
            raise EngineAway(f"the model cannot be loaded: {error}") from error

    def _living_child(self) -> "_Child":
        if self._is_closed:
            raise EngineLost("the model's process was closed")
        if self._child is None or not self._child.is_alive():
            # Known before it is ready, so that close() can end a start in progress.
            self._child = _Child(*self._arguments)
            if self._is_closed:  # since we looked
                self._child.kill()
            self._introduce(self._child)
        return self._child

    def _introduce(self, child: "_Child") -> None:
        identity = child.ask(None, timeout_s=self._load_timeout_s)
        if not isinstance(identity, EngineIdentity):
            raise EngineLost(f"the model's process introduced itself with {type(identity).__name__}")
        if self._identity not in (None, identity):
            child.kill()
            raise BadCheckpoint("the model's files changed while it was in use: restart the worker")
        self._identity = identity
        self._ready = child


class _Line:
    """First come, first served; a lost process is the loss of the one that was served, and the next starts it anew."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting[0] is ticket)
            yield
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()


class _Child:
    """One spawned process and our end of its pipe."""

    def __init__(self, factory: Factory, model_dir: Path, max_new_tokens: int) -> None:
        context = get_context("spawn")
        self._pipe, far_end = context.Pipe()
        # daemon: ended with us if we leave without close().
        self._process = context.Process(
            target=serve, args=(far_end, factory, model_dir, max_new_tokens), name=PROCESS_NAME, daemon=True
        )
        self._ending = threading.Lock()
        self._process.start()
        far_end.close()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, question: object, *, timeout_s: float) -> object:
        """Send a question (None: only listen) and return the answer.

        Raises the NodeError that the child answers with, or EngineLost if the child did not answer; then it is dead.
        """
        expired = threading.Event()
        # A timer and a kill, not poll(): a stopped child would also block us while we send.
        timer = threading.Timer(timeout_s, self._expire, args=(expired,))
        timer.daemon = True
        timer.start()
        try:
            answer = self._exchange(question)
        except (EOFError, OSError) as error:
            raise EngineLost(self._obituary(expired, timeout_s)) from error
        finally:
            timer.cancel()
        if isinstance(answer, EngineLost):
            self.kill()
        if isinstance(answer, NodeError):
            raise answer
        return answer

    def kill(self) -> int | None:
        """End the process if it has not ended, and return its exit code."""
        with self._ending:
            self._process.kill()
            self._process.join()
            return self._process.exitcode

    def _exchange(self, question: object) -> object:
        if question is not None:
            self._pipe.send(question)
        answer: object = self._pipe.recv()
        return answer

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self.kill()

    def _obituary(self, expired: threading.Event, timeout_s: float) -> str:
        with self._ending:
            self._process.join(_EXIT_WAIT_S)
        exit_code = self.kill()
        if expired.is_set():
            return f"the model took longer than {timeout_s:g} s and was stopped"
        return f"the model's process ended with exit code {exit_code}"
