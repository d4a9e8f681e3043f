"""GET /metrics, for Prometheus: from this machine, or by bearer token. How many patients come is nobody else's."""

from hmac import compare_digest

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.metrics.collector import NodeCollector
from dicom_node.receive.intake import Receiver
from dicom_node.receive.refusals import Refusal, Refusals
from dicom_node.web.access import is_from_elsewhere, is_this_machine
from dicom_node.web.caller import caller_of

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="metrics"'}  # RFC 6750 3


def make_router(settings: Settings, receiver: Receiver, trail: AuditTrail) -> APIRouter:
    """The resource /metrics, in Prometheus's text format."""
    registry, refusals = CollectorRegistry(), Refusals(trail)
    registry.register(NodeCollector(settings, receiver.sessions, receiver.clock))
    one_at_a_time = CapacityLimiter(1)
    router = APIRouter()

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        _require_watcher(settings, request, refusals)
        try:
            text = await to_thread.run_sync(generate_latest, registry, limiter=one_at_a_time)
        except SQLAlchemyError:
            return PlainTextResponse("The database is away.\n", 503)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


def _require_watcher(settings: Settings, request: Request, refusals: Refusals) -> None:
    """Raises HTTPException 401 or 403, PageRefused as `caller_of` does."""
    address = caller_of(settings, request)
    if settings.metrics_token is None:
        if not is_this_machine(address) or is_from_elsewhere(request.headers, request.scope["http_version"]):
            _refuse(refusals, 403, "without metrics_token, only this machine may ask", address)
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
    if not compare_digest(settings.metrics_token.get_secret_value().encode(), given):
        _refuse(refusals, 401, "expected the bearer token of metrics_token", address)


def _refuse(refusals: Refusals, status: int, why: str, address: str) -> None:
    refusals.tell(Refusal("request_refused", address, why, code=str(status)))
    raise HTTPException(status, why, _CHALLENGE if status == 401 else None)
