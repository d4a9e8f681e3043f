"""The route of the agreement: how drafts compare with what was signed, over time and by finding."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from sqlmodel import Session, col, select
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.agreement.figures import OUTCOMES, Figures, Wanted, compared_models, read_figures
from dicom_node.agreement.outcome import Outcome, conclusion
from dicom_node.models import Agreement, FindingAgreement
from dicom_node.web.courses import Course, draw
from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused

_MOST_APART = 15  # studies that are listed
_WAIT_S = 2.0


def make_router(page: Page) -> APIRouter:
    router, zone = APIRouter(), ZoneInfo(page.settings.time_zone)
    in_turn = threading.Lock()  # it reads all comparisons: many at once would leave no memory to those who send

    @router.get("/agreement")
    def show(request: Request, since: str = "", model: str = "") -> Response:
        """No patient is named here: who wants to see one goes on to the study."""
        visitor, wanted = page.door.visitor(request), _wanted(since, model)
        with _held(in_turn), page.receiver.sessions() as session:
            figures, models = read_figures(session, wanted, zone), compared_models(session)
            apart = figures.sample.furthest_apart(_MOST_APART)
            differing = _differing(session, [each.study_id for each in apart])
        said = {"visitor": visitor, "wanted": wanted, "models": models, "figures": figures, "outcomes": OUTCOMES}
        said |= {"courses": _courses(figures), "apart": apart, "differing": differing}
        return page.templates.render("agreement.html", said)

    return router


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    if not lock.acquire(timeout=_WAIT_S):
        raise PageRefused(503, "Others are looking at these figures now: try again in some seconds.")
    try:
        yield
    finally:
        lock.release()


def _wanted(since: str, model: str) -> Wanted:
    try:
        return Wanted(date.fromisoformat(since) if since else None, model.replace("\0", ""))
    except ValueError as error:
        raise PageRefused(404, "There is no such day: expected one as 2026-03-01.") from error


def _courses(figures: Figures) -> Sequence[Course]:
    agreed = {day: each.counts.share("agreed") if each.counts.named else None for day, each in figures.periods.items()}
    rouge_l = {day: each.rouge_l for day, each in figures.periods.items()}
    return [
        draw("Findings on which both agree", agreed, scale=("0", "50 %", "100 %")),
        draw("ROUGE-L of the findings, median", rouge_l, scale=("0", "0.5", "1")),
    ]


def _differing(session: Session, study_ids: Sequence[int]) -> Mapping[int, Sequence[str]]:
    """What differs in each of these studies, in words."""
    rows = (
        select(Agreement.study_id, FindingAgreement)
        .join(FindingAgreement, col(FindingAgreement.agreement_id) == col(Agreement.id))
        .where(col(Agreement.study_id).in_(study_ids), FindingAgreement.outcome != Outcome.AGREED)
        .order_by(col(FindingAgreement.id))
    )
    said: dict[int, list[str]] = {}
    for study_id, row in session.exec(rows):
        words = conclusion(row)
        said.setdefault(study_id, []).append(f"{row.finding}: {words[0].lower()}{words[1:]}")
    return said
