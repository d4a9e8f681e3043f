"""The page as a whole: its routes, its files, and how it says no."""

from importlib.resources import files

from fastapi import FastAPI
from starlette.convertors import register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from dicom_node.web import (
    account_page,
    admin_page,
    agreement_page,
    destinations_page,
    login_page,
    rules_page,
    setup_page,
    status_page,
    study_page,
    verbs_page,
    worklist_page,
)
from dicom_node.web.page import Page
from dicom_node.web.privacy import GuardedAnswers
from dicom_node.web.refused import REQUEST_TIMEOUT, LoginWanted, PageRefused
from dicom_node.web.study_rows import RowNumber

_PAGES = (
    login_page,
    worklist_page,
    study_page,
    verbs_page,
    destinations_page,
    status_page,
    agreement_page,
    setup_page,
    rules_page,
    admin_page,
    account_page,
)


def add_to(app: FastAPI, page: Page) -> None:
    """Everything that a browser sees of the node."""
    page.first_admin.announce()
    register_url_convertor("row", RowNumber())
    for module in _PAGES:
        app.include_router(module.make_router(page))
    app.mount("/static", StaticFiles(directory=str(files("dicom_node.web") / "static")))

    @app.exception_handler(LoginWanted)
    def ask_to_log_in(request: Request, _: Exception) -> Response:
        """A page that renews itself is told to leave: what it shows is no longer this browser's to see."""
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"HX-Redirect": "/login"})
        return login_page.to("/login")

    @app.exception_handler(PageRefused)
    def say_no(_: Request, refused: PageRefused) -> Response:
        said = {"sentence": refused.sentence, "study_id": refused.study_id, "visitor": None}
        response = page.templates.render("refused.html", said, refused.status)
        if refused.status == REQUEST_TIMEOUT:
            response.headers["Connection"] = "close"
        return response

    app.add_middleware(GuardedAnswers)
