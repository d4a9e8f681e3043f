"""The routes for admins: the settings in force, and the people who may use the page."""

from collections.abc import Callable
from functools import partial

from anyio import to_thread
from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.access.users import add_user, change_password, disable_user, find_user, list_users
from dicom_node.errors import Permanent
from dicom_node.models import Access
from dicom_node.web.door import Visitor
from dicom_node.web.forms import Form, read_form
from dicom_node.web.login_page import to
from dicom_node.web.page import Page
from dicom_node.web.settings_view import lines_of

Change = Callable[[Session, Form], object]


def make_router(page: Page) -> APIRouter:
    router = APIRouter()

    @router.get("/settings")
    def settings(request: Request, changed: bool = False) -> Response:
        visitor, lines = page.door.admin(request), lines_of(page.settings)
        shown = [line for line in lines if not (changed and line.is_default)]
        return page.templates.render("settings.html", {"visitor": visitor, "lines": shown, "changed": changed})

    @router.get("/people")
    def people(request: Request) -> Response:
        return _people(page, page.door.admin(request))

    async def change(request: Request, change: Change, *, hashes: bool = True) -> Response:
        form = await read_form(request, page.door.cookie(request))
        return await to_thread.run_sync(partial(_change, page, request, form, change, hashes=hashes))

    @router.post("/people/add")
    async def add(request: Request) -> Response:
        return await change(request, lambda session, form: _add(session, form, page))

    @router.post("/people/disable")
    async def disable(request: Request) -> Response:
        now = page.receiver.clock()
        return await change(
            request,
            lambda session, form: disable_user(session, find_user(session, form.get("name", "")), now),
            hashes=False,
        )

    @router.post("/people/password")
    async def password(request: Request) -> Response:
        return await change(request, _reset)

    return router


def _people(page: Page, visitor: Visitor, said: str = "", status: int = 200, typed: Form | None = None) -> Response:
    """typed: into the form for somebody new; a password is typed again."""
    with page.receiver.sessions() as session:
        users = list_users(session)
    values = {"visitor": visitor, "users": users, "roles": list(Access), "said": said, "provider": page.provider}
    values["typed"] = typed or {}
    return page.templates.render("people.html", values, status)


def _change(page: Page, request: Request, form: Form, change: Change, *, hashes: bool) -> Response:
    """hashes: it takes a password, which costs time. Strangers' tries keep no admin from shutting somebody out."""
    visitor = page.door.admin(request)
    if hashes:
        page.door.require_calm(request)
    try:
        with page.receiver.sessions.begin() as session:
            change(session, form)
    except Permanent as error:
        return _people(page, visitor, f"Nothing was changed: {error}.", 409, form if "role" in form else None)
    page.trail.changed_user(visitor.person, form.get("name", ""))
    return to("/people")


def _add(session: Session, form: Form, page: Page) -> None:
    if form.get("role") not in list(Access):
        raise Permanent(f"expected one of the roles {', '.join(Access)}")
    role = Access(form["role"])
    add_user(session, form.get("name", ""), role, form.get("password", ""), page.receiver.clock())


def _reset(session: Session, form: Form) -> None:
    change_password(session, find_user(session, form.get("name", "")), form.get("password", ""))
