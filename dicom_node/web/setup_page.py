"""The routes of the first run: what is missing, and a test study through the whole node."""

from functools import partial
from zlib import crc32

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from sqlmodel import select
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.demographics import shown_name
from dicom_node.errors import NodeError
from dicom_node.models import Study
from dicom_node.receive.rate_limit import RateLimit
from dicom_node.web.destinations import PeerName, peers_of
from dicom_node.web.door import Visitor
from dicom_node.web.forms import read_form
from dicom_node.web.login_page import to
from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused
from dicom_node.web.setup import steps_of
from dicom_node.web.study_rows import visit_study
from dicom_node.web.trial import PATIENT_ID, PATIENT_NAME, own_port, send_test_study
from dicom_node.web.worklist_page import NOTHING_NEW

_EVERY_S = 20.0  # test studies of all people together
_BURST = 3


def make_router(page: Page) -> APIRouter:
    router = APIRouter(prefix="/setup")
    one_at_a_time, limit = CapacityLimiter(1), RateLimit(1 / _EVERY_S, burst=_BURST)

    @router.get("")
    def show(request: Request, change: str = "") -> Response:
        visitor = page.door.operator(request)
        with page.receiver.sessions() as session:
            steps = steps_of(session, page.settings, page.receiver.clock(), page.peer_tests.last)
        newest = f"{crc32(repr(steps).encode()):x}-{page.peer_tests.count}"
        if newest == change:  # or the lines could not be copied: what is marked would be gone
            return Response(status_code=NOTHING_NEW)
        name = "_setup.html" if "hx-request" in request.headers else "setup.html"
        said = {"visitor": visitor, "change": newest, "steps": steps, "last": page.peer_tests.last}
        return page.templates.render(name, said)

    @router.get("/test-study")
    def ask(request: Request) -> Response:
        visitor = page.door.operator(request)
        return _ask(page, visitor)

    @router.post("/test-study")
    async def send(request: Request) -> Response:
        await read_form(request, page.door.cookie(request))
        return await to_thread.run_sync(partial(_send, page, request, limit), limiter=one_at_a_time)

    return router


def _ask(page: Page, visitor: Visitor, said: str = "", status: int = 200) -> Response:
    asked = [PeerName("pacs", each.name) for each in page.settings.pacs if each.ask_before_sending]
    told = [peer.title for peer in peers_of(page.settings) if peer.kind != "source" and peer not in asked]
    patient = {"name": shown_name(PATIENT_NAME), "id": PATIENT_ID}
    values = {"visitor": visitor, "told": told, "patient": patient, "said": said}
    values["asked"] = [peer.title for peer in asked]
    return page.templates.render("test_study.html", values, status)


def _send(page: Page, request: Request, limit: RateLimit) -> Response:
    visitor, now = page.door.operator(request), page.receiver.clock()
    if not limit.allows(""):
        raise PageRefused(429, "A test study was sent a moment ago: wait half a minute.")
    try:
        with page.receiver.sessions() as session:
            port = own_port(session, page.settings, now)
        uid = send_test_study(page.settings, port, now)
    except NodeError as error:
        return _ask(page, visitor, f"It was not received: {error}. {_fix(page)}", 409)
    with page.receiver.sessions() as session:
        study = session.exec(select(Study).where(Study.study_instance_uid == uid)).one()
        visit_study(page, session, visitor, study.id or 0, is_change=True)
    return to(f"/studies/{study.id}")


def _fix(page: Page) -> str:
    ae_title = page.settings.ae_title
    if ae_title in page.settings.peers:
        return "The log of the role scp says why."
    return f"The node takes nothing from {ae_title} itself unless [peers.{ae_title}] is in dicom-node.toml."
