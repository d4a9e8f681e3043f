"""What a person may do to a study: try it again, or withdraw its drafts. The timeline says who it was."""

from collections.abc import Callable
from functools import partial

from anyio import to_thread
from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.demographics import shown_name
from dicom_node.errors import Permanent
from dicom_node.operator import retry
from dicom_node.web.forms import Form, read_form
from dicom_node.web.login_page import to
from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused
from dicom_node.web.study_rows import visit_study
from dicom_node.withdrawal import withdraw

_LONGEST_REASON = 200
Verb = Callable[[Session, str], object]  # the second is who asks


def make_router(page: Page) -> APIRouter:
    router = APIRouter(prefix="/studies/{study_id:int}")

    @router.post("/retry")
    async def again(study_id: int, request: Request) -> Response:
        await read_form(request, page.door.cookie(request))

        def verb(session: Session, by: str) -> object:
            return retry(session, study_id, page.receiver.clock(), by=by)

        return await to_thread.run_sync(partial(_act, page, request, study_id, verb))

    @router.get("/withdraw")
    def ask(study_id: int, request: Request) -> Response:
        visitor = page.door.operator(request)
        with page.receiver.sessions() as session:
            study = visit_study(page, session, visitor, study_id)
        name = shown_name(study.patient_name or "")
        said = {"visitor": visitor, "study": study, "name": name, "longest": _LONGEST_REASON}
        return page.templates.render("withdraw.html", said)

    @router.post("/withdraw")
    async def take_back(study_id: int, request: Request) -> Response:
        reason = _reason(await read_form(request, page.door.cookie(request)))

        def verb(session: Session, by: str) -> object:
            return withdraw(session, page.settings, study_id, reason, page.receiver.clock(), by=by)

        return await to_thread.run_sync(partial(_act, page, request, study_id, verb))

    return router


def _act(page: Page, request: Request, study_id: int, verb: Verb) -> Response:
    visitor = page.door.operator(request)
    try:
        with page.receiver.sessions.begin() as session:
            visit_study(page, session, visitor, study_id, is_change=True)
            verb(session, visitor.person.name)
    except Permanent as error:
        raise PageRefused(409, f"Nothing was done. {error}.") from error
    return to(f"/studies/{study_id}")


def _reason(form: Form) -> str:
    """On one line. Raises PageRefused without one: the timeline is to say why."""
    reason = " ".join("".join(filter(str.isprintable, " ".join(form.get("reason", "").split()))).split())
    if not reason or len(reason) > _LONGEST_REASON:
        raise PageRefused(400, f"Nothing was done. A reason of up to {_LONGEST_REASON} characters was expected.")
    return reason
