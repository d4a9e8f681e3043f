"""What a person may do to a study: try or send it again, leave a failure as it is, withdraw its drafts.

The timeline says who it was.
"""

from collections.abc import Callable
from functools import partial

from anyio import to_thread
from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.errors import Permanent
from dicom_node.failures import acknowledge
from dicom_node.models import Job, Study
from dicom_node.operator import resend, resendable, retry
from dicom_node.web.forms import Form, read_form
from dicom_node.web.login_page import to
from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused
from dicom_node.web.study_rows import delivery_of, visit_study
from dicom_node.withdrawal import standing_of, withdraw

_LONGEST_REASON = 200
Verb = Callable[[Session, Study, str, Form], object]  # the third is who asks


def make_router(page: Page) -> APIRouter:
    router = APIRouter(prefix="/studies/{study_id:row}")

    async def act(request: Request, study_id: int, verb: Verb) -> Response:
        form = await read_form(request, page.door.cookie(request))
        return await to_thread.run_sync(partial(_act, page, request, form, study_id, verb))

    @router.post("/retry")
    async def again(study_id: int, request: Request) -> Response:
        now = page.receiver.clock()
        return await act(request, study_id, lambda session, _, by, __: retry(session, study_id, now, by=by))

    @router.post("/acknowledge")
    async def leave(study_id: int, request: Request) -> Response:
        now = page.receiver.clock()
        return await act(
            request,
            study_id,
            lambda session, _, by, form: acknowledge(session, study_id, now, by=by, seen=_seen(form)),
        )

    @router.post("/deliveries/{delivery_id:row}/resend")
    async def send_again(study_id: int, delivery_id: int, request: Request) -> Response:
        def verb(session: Session, study: Study, by: str, _: Form) -> object:
            to = delivery_of(session, study, delivery_id)
            if to not in resendable(session, study):  # of an older draft: the newest one's bytes are not meant
                raise Permanent(f"study {study_id}: this delivery cannot be sent again now")
            return resend(session, study_id, to.destination, page.receiver.clock(), kind=to.kind, by=by)

        return await act(request, study_id, verb)

    @router.get("/withdraw")
    def ask(study_id: int, request: Request) -> Response:
        visitor = page.door.operator(request)
        with page.receiver.sessions() as session:
            study = visit_study(page, session, visitor, study_id)
            standing = standing_of(session, study)
            drafts = [(session.get_one(Job, each.job_id).revision, each) for each in reversed(standing.reports)]
        said = {"visitor": visitor, "study": study, "standing": standing, "drafts": drafts, "longest": _LONGEST_REASON}
        return page.templates.render("withdraw.html", said)

    @router.post("/withdraw")
    async def take_back(study_id: int, request: Request) -> Response:
        def verb(session: Session, _: Study, by: str, form: Form) -> object:
            now = page.receiver.clock()
            return withdraw(session, page.settings, study_id, _reason(form), now, by=by, seen=_seen(form))

        return await act(request, study_id, verb)

    return router


def _act(page: Page, request: Request, form: Form, study_id: int, verb: Verb) -> Response:
    visitor = page.door.operator(request)
    try:
        with page.receiver.sessions.begin() as session:
            study = visit_study(page, session, visitor, study_id, is_change=True)
            verb(session, study, visitor.person.name, form)
    except Permanent as error:
        raise PageRefused(409, f"Nothing was done. {error}.", study_id) from error
    return to(f"/studies/{study_id}")


def _seen(form: Form) -> str:
    """What the page showed. Without it, it was no page of ours: that is not what is found."""
    return form.get("seen", "")


def _reason(form: Form) -> str:
    """On one line. Raises PageRefused without one: the timeline is to say why."""
    reason = " ".join("".join(filter(str.isprintable, " ".join(form.get("reason", "").split()))).split())
    if not reason or len(reason) > _LONGEST_REASON:
        raise PageRefused(400, f"Nothing was done. A reason of up to {_LONGEST_REASON} characters was expected.")
    return reason
