"""Whether this node could store an object now: asked by compose, a load balancer, a person."""

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import StorageFull
from dicom_node.heartbeat import beating_loop
from dicom_node.receive.intake import Receiver

_GOOD_FOR_S = 1.0  # an answer: strangers may ask, and each look writes to the disk


def make_router(receiver: Receiver) -> APIRouter:
    """GET /healthz: 200, or 503, and why in words. And the heartbeat of the role."""
    checkup, one_at_a_time = Checkup(receiver), CapacityLimiter(1)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        async with beating_loop("web", receiver.sessions, receiver.clock):
            yield

    router = APIRouter(lifespan=alive)

    @router.get("/healthz")
    async def healthz() -> PlainTextResponse:
        faults = await to_thread.run_sync(checkup.faults, limiter=one_at_a_time)
        words = " ".join(faults) or "The database answers; the instance folder can be written and has room."
        return PlainTextResponse(f"{words}\n", 503 if faults else 200)

    return router


class Checkup:
    """Remembers what it found for a second. For one thread at a time."""

    def __init__(self, receiver: Receiver, timer: Callable[[], float] = time.monotonic) -> None:
        self._receiver = receiver
        self._timer = timer
        self._found: Sequence[str] = ()
        self._found_at = -math.inf

    def faults(self) -> Sequence[str]:
        """A sentence for each."""
        if self._timer() - self._found_at >= _GOOD_FOR_S:
            self._found = _faults(self._receiver)
            self._found_at = self._timer()  # after the look: one that took long is not old at once
        return self._found


def _faults(receiver: Receiver) -> list[str]:
    """A sentence for each."""
    faults = []
    try:
        with receiver.sessions() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        faults.append("The database is away.")
    try:
        receiver.store.require_writable()
    except StorageFull:
        faults.append("The instance folder cannot be written, or has no room.")
    return faults
