"""The pages before the login: the login itself, and the first admin of a new node."""

from functools import partial

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dicom_node.errors import Permanent
from dicom_node.web.door import new_token
from dicom_node.web.forms import Form, csrf_of, read_form
from dicom_node.web.page import Page
from dicom_node.web.privacy import require_privacy
from dicom_node.web.refused import PageRefused


def make_router(page: Page) -> APIRouter:
    router = APIRouter()
    oidc = page.settings.oidc

    @router.get("/login")
    def login(request: Request) -> Response:
        require_privacy(page.settings, request)
        is_new = oidc is None and page.first_admin.is_wanted()
        return to("/first-admin") if is_new else blank(page, request, "login.html")

    @router.post("/login")
    async def come_in(request: Request) -> Response:
        form = await _form(page, request)
        return await to_thread.run_sync(partial(_come_in, page, request, form))

    @router.get("/first-admin")
    def first_admin(request: Request) -> Response:
        require_privacy(page.settings, request)
        return blank(page, request, "first_admin.html") if page.first_admin.is_wanted() else to("/login")

    @router.post("/first-admin")
    async def make_first_admin(request: Request) -> Response:
        form = await _form(page, request)
        return await to_thread.run_sync(partial(_make_first_admin, page, request, form))

    @router.post("/logout")
    async def go_out(request: Request) -> Response:
        await read_form(request, page.door.cookie(request))
        return await to_thread.run_sync(partial(_go_out, page, request))

    if oidc is not None:
        from dicom_node.web import provider_page  # and cryptography: 10 MB that few pages need

        router.include_router(provider_page.make_router(page, oidc))
    return router


def to(path: str) -> Response:
    return RedirectResponse(path, 303)


async def _form(page: Page, request: Request) -> Form:
    require_privacy(page.settings, request)
    return await read_form(request, page.door.cookie_before_login(request))


def blank(page: Page, request: Request, name: str, status: int = 200, said: str = "", user: str = "") -> Response:
    """A form to come in by, and why the last try did not do."""
    token = page.door.cookie_before_login(request) or new_token()
    values = {"csrf": csrf_of(token), "said": said, "user": user, "visitor": None, "provider": page.provider}
    response = page.templates.render(name, values, status)
    page.door.give_before_login(request, response, token)
    return response


def _come_in(page: Page, request: Request, form: Form, path: str = "/") -> Response:
    name = form.get("name", "")
    try:
        token = page.door.come_in(request, name, form.get("password", ""))
    except PageRefused as refused:
        return blank(page, request, "login.html", refused.status, refused.sentence, name)
    response = to(path)
    page.door.give(request, response, token)
    return response


def _make_first_admin(page: Page, request: Request, form: Form) -> Response:
    page.door.require_calm(request)
    name, password = form.get("name", ""), form.get("password", "")
    try:
        if password != form.get("again", ""):
            raise Permanent("the two passwords differ")
        page.first_admin.make(form.get("code", ""), name, password, page.receiver.clock())
    except Permanent as error:
        return blank(page, request, "first_admin.html", 403, f"Not made: {error}.", name)
    return _come_in(page, request, form, "/setup")


def _go_out(page: Page, request: Request) -> Response:
    page.door.go_out(request, page.door.visitor(request))
    response = to("/login")
    page.door.take(request, response)
    return response
