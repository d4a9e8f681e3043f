"""Whether this node could store an object now: asked by compose, a load balancer, a person."""

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import StorageFull
from dicom_node.receive.intake import Receiver

_MOST_AT_ONCE = 2  # checks; whoever else asks waits


def make_router(receiver: Receiver) -> APIRouter:
    """GET /healthz: 200, or 503, and why in words."""
    threads = CapacityLimiter(_MOST_AT_ONCE)
    router = APIRouter()

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
