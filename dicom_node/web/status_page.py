"""The route of the charts: how the node does."""

from collections.abc import Mapping
from datetime import datetime

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.health import absent, conditions, expected
from dicom_node.roles import roles_of
from dicom_node.web.charts import draw
from dicom_node.web.figures import Disk, disk, queues, throughput
from dicom_node.web.page import Page


def make_router(page: Page) -> APIRouter:
    router = APIRouter()

    @router.get("/status")
    def status(request: Request) -> Response:
        """The charts stay as they are until the page is loaded again; what stands above them renews itself."""
        visitor, now = page.door.visitor(request), page.receiver.clock()
        with page.receiver.sessions() as session:
            said = {"visitor": visitor, "now": now, **_now(page, session, now)}
            if "hx-request" in request.headers:
                return page.templates.render("_status.html", said)
            counted = throughput(session, now)
        charts = [draw(name, counts) for name, counts in counted.counts.items()]
        return page.templates.render("status.html", {**said, "counted": counted, "charts": charts})

    return router


def _now(page: Page, session: Session, now: datetime) -> Mapping[str, object]:
    wanted = roles_of(page.settings)
    roles = expected(conditions(session, now), wanted)
    return {
        "disk": _disk(page, session, now),
        "queues": queues(session),
        "roles": roles,
        "absent": absent(wanted, roles),
    }


def _disk(page: Page, session: Session, now: datetime) -> Disk | None:
    try:
        return disk(session, page.settings, now)
    except OSError:
        return None
