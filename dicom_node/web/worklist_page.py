"""The worklist's route."""

from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused
from dicom_node.web.renewals import Renewals
from dicom_node.web.worklist import FILTERS, Wanted, newest_change, read_worklist

NOTHING_NEW = 204  # htmx leaves the page as it is
_MOST_AT_ONCE = 4  # lists: the database looks at many studies for each


def make_router(page: Page) -> APIRouter:
    router = APIRouter()
    threads = CapacityLimiter(_MOST_AT_ONCE)
    lists = _Lists(page)

    @router.get("/")
    async def worklist(
        request: Request, where: str = "all", q: str = "", number: int = 1, change: str = ""
    ) -> Response:
        show = partial(lists.show, request, where=where, words=q, number=number, change=change)
        return await to_thread.run_sync(show, limiter=threads)

    return router


class _Lists:
    """Shows them, and tells the audit trail who looks for what."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._renewals = Renewals()

    def show(self, request: Request, *, where: str, words: str, number: int, change: str) -> Response:
        visitor, wanted = self._page.door.visitor(request), _wanted(where, words, number)
        with self._page.receiver.sessions() as session:
            newest = newest_change(session)
            if newest == change:
                return Response(status_code=NOTHING_NEW)
            found = read_worklist(session, wanted)
        if self._renewals.is_to_audit(request, visitor, f"{wanted.filter} {wanted.page} {wanted.words}"):
            self._page.trail.searched(visitor.person, wanted.words)
        name = "_worklist.html" if "hx-request" in request.headers else "worklist.html"
        said = {"visitor": visitor, "wanted": wanted, "found": found, "change": newest, "filters": FILTERS}
        return self._page.templates.render(name, said)


def _wanted(where: str, words: str, number: int) -> Wanted:
    try:
        return Wanted(where, words.replace("\0", ""), number)  # NUL: PostgreSQL has none in text
    except ValueError as error:
        raise PageRefused(404, "There is no such list.") from error
