"""The routes of one study: its page, its pictures, and what was sent of it."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.demographics import Demographics, read_demographics
from dicom_node.errors import NodeError
from dicom_node.web.page import Page
from dicom_node.web.payloads import payload_text
from dicom_node.web.pictures import attended_png, film_png
from dicom_node.web.refused import PageRefused
from dicom_node.web.renewals import Renewals
from dicom_node.web.study_rows import delivery_of, instance_of, report_of, visit_study
from dicom_node.web.study_view import StudyView, view_study
from dicom_node.web.worklist import newest_change
from dicom_node.web.worklist_page import NOTHING_NEW

_MOST_DRAWN = 2  # pictures at once: a dozen large films being decoded fill the container's memory


def make_router(page: Page) -> APIRouter:
    router = APIRouter(prefix="/studies/{study_id:row}")
    threads, renewals = CapacityLimiter(_MOST_DRAWN), Renewals()

    @router.get("")
    def show(study_id: int, request: Request, change: str = "") -> Response:
        visitor = page.door.visitor(request)
        with page.receiver.sessions() as session:
            newest = newest_change(session)
            if newest == change:
                return Response(status_code=NOTHING_NEW)
            is_to_audit = renewals.is_to_audit(request, visitor, str(study_id))
            view = view_study(session, visit_study(page, session, visitor, study_id, is_to_audit=is_to_audit))
        name = "_study.html" if "hx-request" in request.headers else "study.html"
        said = {"visitor": visitor, "change": newest, "view": view, "facts": _facts(page, view)}
        return page.templates.render(name, said)

    @router.get("/films/{instance_id:row}.png")
    async def film(study_id: int, instance_id: int, request: Request) -> Response:
        return await to_thread.run_sync(partial(_film, page, request, study_id, instance_id), limiter=threads)

    @router.get("/drafts/{report_id:row}/attention/{number:row}.png")
    async def attention(study_id: int, report_id: int, number: int, request: Request) -> Response:
        draw = partial(_attention, page, request, study_id, report_id=report_id, number=number)
        return await to_thread.run_sync(draw, limiter=threads)

    @router.get("/deliveries/{delivery_id:row}")
    def sent(study_id: int, delivery_id: int, request: Request) -> Response:
        visitor = page.door.visitor(request)
        with page.receiver.sessions() as session:
            study = visit_study(page, session, visitor, study_id)
            delivery = delivery_of(session, study, delivery_id)
        said = {"visitor": visitor, "study": study, "delivery": delivery, "payload": payload_text(delivery)}
        return page.templates.render("sent.html", said)

    return router


def _facts(page: Page, view: StudyView) -> Demographics:
    """All of one image: of the film that is shown or, where that cannot be read, what the study remembers of one."""
    if view.film is not None:
        with suppress(NodeError, OSError):
            return read_demographics(page.receiver.store.open(view.film.path))
    study = view.study
    return Demographics(study.patient_name or "", study.patient_id, accession_number=study.accession_number)


def _film(page: Page, request: Request, study_id: int, instance_id: int) -> Response:
    visitor = page.door.visitor(request)
    with page.receiver.sessions() as session:
        instance = instance_of(session, visit_study(page, session, visitor, study_id), instance_id)
    return _picture(lambda: film_png(page.receiver.store.open(instance.path)))


def _attention(page: Page, request: Request, study_id: int, *, report_id: int, number: int) -> Response:
    visitor = page.door.visitor(request)
    with page.receiver.sessions() as session:
        study = visit_study(page, session, visitor, study_id)
        report = report_of(session, study, report_id)
        instance = instance_of(session, study, report.instance_id)
    return _picture(lambda: attended_png(page.receiver.store.open(instance.path), report.attention, number))


def _picture(draw: Callable[[], bytes]) -> Response:
    try:
        return Response(draw(), media_type="image/png")
    except NodeError as error:
        raise PageRefused(422, f"The film cannot be shown: {error}.") from error
    except OSError as error:
        raise PageRefused(503, "The film cannot be read from the disk now.") from error
