"""Whether this node could store an object now: asked by compose, a load balancer, a person."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import StorageFull
from dicom_node.heartbeat import beating_loop
from dicom_node.receive.intake import Receiver

_MOST_AT_ONCE = 2  # checks; whoever else asks waits


def make_router(receiver: Receiver) -> APIRouter:
    """GET /healthz: 200, or 503, and why in words. And the heartbeat of the role."""
    threads = CapacityLimiter(_MOST_AT_ONCE)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        async with beating_loop("web", receiver.sessions, receiver.clock):
            yield

    router = APIRouter(lifespan=alive)

    @router.get("/healthz")
    async def healthz() -> PlainTextResponse:
        faults = await to_thread.run_sync(_faults, receiver, limiter=threads)
        words = " ".join(faults) or "The database answers; the instance folder can be written and has room."
        return PlainTextResponse(f"{words}\n", 503 if faults else 200)

    return router


def _faults(receiver: Receiver) -> list[str]:
    """A sentence for each."""
    faults = []
    try:
        with receiver.sessions() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        faults.append("The database is away.")
    try:
        receiver.store.begin(b"healthz").discard()
    except StorageFull:
        faults.append("The instance folder cannot be written, or has no room.")
    return faults
