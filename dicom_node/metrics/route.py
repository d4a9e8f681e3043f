"""GET /metrics, for Prometheus: from this machine, or by bearer token. How many patients come is nobody else's."""

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.metrics.collector import NodeCollector
from dicom_node.receive.intake import Receiver
from dicom_node.receive.refusals import Refusals
from dicom_node.web.access import bears, is_from_here, refuse
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
        if not is_from_here(address, request.headers, request.scope["http_version"]):
            refuse(refusals, 403, "without metrics_token, only this machine may ask", address)
    elif not bears(request.headers.get("authorization", ""), settings.metrics_token):
        refuse(refusals, 401, "expected the bearer token of metrics_token", address, headers=_CHALLENGE)
