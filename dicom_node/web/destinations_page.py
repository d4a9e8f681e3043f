"""The routes of the peers: how it goes with each, and asking one whether it answers."""

from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.web.destinations import LOOK_BACK, PeerName, peer_states
from dicom_node.web.forms import read_form
from dicom_node.web.login_page import to
from dicom_node.web.page import Page
from dicom_node.web.worklist import newest_change
from dicom_node.web.worklist_page import NOTHING_NEW

_MOST_AT_ONCE = 4  # tests: each waits for its peer
_BACK = ("/destinations", "/setup")  # where a person may have pressed the button


def make_router(page: Page) -> APIRouter:
    router = APIRouter(prefix="/destinations")
    threads = CapacityLimiter(_MOST_AT_ONCE)

    @router.get("")
    def show(request: Request, change: str = "") -> Response:
        visitor = page.door.visitor(request)
        with page.receiver.sessions() as session:
            newest = f"{newest_change(session)}-{page.peer_tests.count}"
            if newest == change:
                return Response(status_code=NOTHING_NEW)
            states = peer_states(session, page.settings, page.receiver.clock())
        name = "_destinations.html" if "hx-request" in request.headers else "destinations.html"
        said = {"visitor": visitor, "change": newest, "states": states, "last": page.peer_tests.last}
        return page.templates.render(name, {**said, "days": LOOK_BACK.days})

    @router.post("/{kind}/{name}/test")
    async def test(kind: str, name: str, request: Request) -> Response:
        form = await read_form(request, page.door.cookie(request))
        work = partial(_test, page, request, PeerName(kind, name), form.get("back", ""))
        return await to_thread.run_sync(work, limiter=threads)

    return router


def _test(page: Page, request: Request, peer: PeerName, back: str) -> Response:
    visitor = page.door.operator(request)
    tested = page.peer_tests.run(peer, visitor.person.name)
    page.trail.tested(visitor.person, peer.title, "" if tested.is_well else tested.found.words)
    return to(f"{back if back in _BACK else _BACK[0]}#{peer.kind}-{peer.name}")
