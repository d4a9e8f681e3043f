"""The worklist: studies by where they are, by what somebody looks for, a page at a time; newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, exists, true
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.demographics import fold, shown_name
from dicom_node.failures import SEEN, needs_person
from dicom_node.models import Agreement, Instance, Job, Report, Study, Transition
from dicom_node.states import ACTIVE_JOB_STATES, UNCHANGED, JobState, StudyState
from dicom_node.timeline import StudyStatus, study_status

PAGE_SIZE = 50
_LAST_PAGE = 200  # what is older is searched for: the database counts through all that comes before
_LONGEST_WORDS = 100
_NEAR = 1_000  # ids: where more are drawn while one transaction lasts, what comes next renews the page anyway
# By the name of the filter, the words of `StudyStatus.where` that it lets through; none: all. A prior that came to be
# compared with stays complete, and is under no other.
FILTERS: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "under way": (StudyState.RECEIVING, *ACTIVE_JOB_STATES),
    "failed": (JobState.FAILED,),
    "seen": (SEEN,),
    "skipped": (JobState.SKIPPED,),
    "done": (JobState.DONE,),
}
_COUNTED = ("under way", "failed")


@dataclass(frozen=True)
class Wanted:
    """What a person wants to see. Raises ValueError for a filter that is not there."""

    filter: str = "all"  # one of FILTERS
    words: str = ""  # of a name, or the beginning of a patient ID or accession number
    page: int = 1

    def __post_init__(self) -> None:
        if self.filter not in FILTERS or not 1 <= self.page <= _LAST_PAGE or len(self.words) > _LONGEST_WORDS:
            raise ValueError("a filter or page that is not there, or too many words")


@dataclass(frozen=True)
class Line:
    """One study of the worklist."""

    status: StudyStatus
    patient_name: str
    patient_id: str
    accession_number: str


@dataclass(frozen=True)
class Worklist:
    """One page of it."""

    lines: Sequence[Line]
    has_more: bool
    counts: Mapping[str, int]  # of all studies, by filter


def read_worklist(session: Session, wanted: Wanted) -> Worklist:
    newest = _filtered(wanted).order_by(col(Study.last_received_at).desc(), col(Study.id).desc())
    skipped = (wanted.page - 1) * PAGE_SIZE
    studies = session.exec(newest.offset(skipped).limit(PAGE_SIZE + 1)).all()
    counts = {name: _count(session, name) for name in _COUNTED}
    has_more = len(studies) > PAGE_SIZE and wanted.page < _LAST_PAGE
    return Worklist([_line(session, study) for study in studies[:PAGE_SIZE]], has_more, counts)


def newest_change(session: Session) -> str:
    """Another word whenever something has come or changed."""
    return "-".join(_newest(session, kind) for kind in (Transition, Instance, Agreement))


def _newest(session: Session, kind: type[Transition | Instance | Agreement]) -> str:
    """The highest id, and how many rows are near it: one may become visible after one with a higher id."""
    highest = session.exec(select(func.max(kind.id))).one() or 0
    near = session.exec(select(func.count(col(kind.id))).where(col(kind.id) > highest - _NEAR)).one()
    return f"{highest}.{near}"


def _line(session: Session, study: Study) -> Line:
    name = shown_name(study.patient_name or "")
    return Line(study_status(session, study), name, study.patient_id, study.accession_number)


def _filtered(wanted: Wanted) -> SelectOfScalar[Study]:
    statement = select(Study).where(*_is_in(wanted.filter))
    words = wanted.words.strip()
    if not words:
        return statement
    in_name = (col(Study.patient_name_folded).contains(word, autoescape=True) for word in fold(words).split())
    numbers = (col(Study.patient_id), col(Study.accession_number))
    begins = (number.istartswith(words, autoescape=True) for number in numbers)
    return statement.where(or_(and_(true(), *in_name), *begins))


def _is_in(name: str) -> list[ColumnElement[bool]]:
    """The study is where the filter wants it. What has no such job at all is left out first, by the jobs' index."""
    states = FILTERS[name]
    if not states:
        return []
    of_jobs = [JobState.FAILED if state == SEEN else state for state in states]
    has_job = col(Study.id).in_(select(Job.study_id).where(col(Job.state).in_(of_jobs)))
    may_be = or_(has_job, col(Study.state) == StudyState.RECEIVING) if StudyState.RECEIVING in states else has_job
    return [may_be, _where().in_(states)]


def _where() -> ColumnElement[str]:
    """`StudyStatus.where` as the database finds it."""
    job = aliased(Job)
    is_withdrawn = exists(select(Report.id).where(Report.job_id == job.id, col(Report.withdrawn_at).is_not(None)))
    is_untold = (col(job.state) == JobState.FAILED) & is_withdrawn
    was_seen = (col(job.state) == JobState.FAILED) & ~needs_person(job)
    current = (
        select(case((was_seen, SEEN), else_=job.state))
        .where(job.study_id == Study.id, or_(is_untold, col(job.reason).not_like(f"{UNCHANGED}%")))
        .order_by(case((is_untold, 0), else_=1), col(job.revision).desc())
        .limit(1)
        .correlate(Study)
        .scalar_subquery()
    )
    may_grow = (col(Study.state) == StudyState.RECEIVING) & current.not_in(ACTIVE_JOB_STATES)
    return case((or_(current.is_(None), may_grow), col(Study.state)), else_=current)


def _count(session: Session, name: str) -> int:
    return session.scalar(select(func.count()).select_from(_filtered(Wanted(name)).subquery())) or 0
