"""The routes of a person's own account: a new password."""

from functools import partial

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.access.users import change_password, find_user
from dicom_node.errors import Permanent
from dicom_node.web.door import Visitor
from dicom_node.web.forms import Form, read_form
from dicom_node.web.login_page import to
from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused


def make_router(page: Page) -> APIRouter:
    router = APIRouter(prefix="/account")

    @router.get("")
    def show(request: Request) -> Response:
        return _account(page, page.door.visitor(request))

    @router.post("/password")
    async def password(request: Request) -> Response:
        form = await read_form(request, page.door.cookie(request))
        return await to_thread.run_sync(partial(_change, page, request, form))

    return router


def _account(page: Page, visitor: Visitor, said: str = "", status: int = 200) -> Response:
    with page.receiver.sessions() as session:
        user = find_user(session, visitor.person.name)
    return page.templates.render("account.html", {"visitor": visitor, "user": user, "said": said}, status)


def _change(page: Page, request: Request, form: Form) -> Response:
    """Whoever does it has to know the password: a browser that was left open is not enough. All logins end."""
    visitor, password = page.door.visitor(request), form.get("password", "")
    name = visitor.person.name
    try:
        page.door.come_in(request, name, form.get("current", ""))
        if password != form.get("again", ""):
            raise Permanent("the two new passwords differ")
        with page.receiver.sessions.begin() as session:
            change_password(session, find_user(session, name), password)
    except PageRefused as refused:
        return _account(page, visitor, refused.sentence, refused.status)
    except Permanent as error:
        return _account(page, visitor, f"Nothing was changed: {error}.", 409)
    page.trail.changed_user(visitor.person, name)
    return to("/login")
