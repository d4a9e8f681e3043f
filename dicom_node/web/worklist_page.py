"""The worklist's route."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused
from dicom_node.web.worklist import FILTERS, Wanted, newest_change, read_worklist

NOTHING_NEW = 204  # htmx leaves the page as it is


def make_router(page: Page) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def worklist(request: Request, where: str = "all", q: str = "", number: int = 1, change: str = "") -> Response:
        visitor, wanted = page.door.visitor(request), _wanted(where, q, number)
        with page.receiver.sessions() as session:
            newest = newest_change(session)
            if newest == change:
                return Response(status_code=NOTHING_NEW)
            found = read_worklist(session, wanted)
        renews = "hx-request" in request.headers
        if not renews:  # which goes on showing what the person has asked for
            page.trail.searched(visitor.person, wanted.words)
        name = "_worklist.html" if renews else "worklist.html"
        said = {"visitor": visitor, "wanted": wanted, "found": found, "change": newest, "filters": FILTERS}
        return page.templates.render(name, said)

    return router


def _wanted(where: str, words: str, number: int) -> Wanted:
    try:
        return Wanted(where, words, number)
    except ValueError as error:
        raise PageRefused(404, "There is no such list.") from error
