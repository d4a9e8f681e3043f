"""How drafts and signed reports agree: all of them, by finding, and over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import sqlalchemy
from sqlalchemy import ColumnElement, case, func, or_
from sqlmodel import Session, col, select

from dicom_node.agreement.outcome import Outcome
from dicom_node.labels import Presence
from dicom_node.models import Agreement, FindingAgreement, Report
from dicom_node.shares import Median, Share, median, share

_FIRST_FILM = date(1895, 11, 8)
_MOST_WEEKS = 26  # that are shown as weeks; a longer time by months


@dataclass(frozen=True)
class Wanted:
    """Which comparisons: of drafts made since then, and of one model. None, and empty: all."""

    since: date | None = None
    model: str = ""


@dataclass(frozen=True)
class Counts:
    """Of findings that the draft or the radiologist says are there."""

    agreed: int = 0
    side_differs: int = 0
    missed: int = 0
    added: int = 0
    contradicted: int = 0  # of the missed and the added: the other says that it is not there

    @property
    def named(self) -> int:
        return self.agreed + self.side_differs + self.missed + self.added

    def share(self, outcome: str) -> Share:
        """Of all that are named; outcome: the name of a count."""
        return share(getattr(self, outcome), self.named)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in COUNTED))


COUNTED = tuple(Counts.__dataclass_fields__)
OUTCOMES = COUNTED[:-1]  # each named finding is one of these


@dataclass(frozen=True)
class ComparedStudy:
    """One comparison."""

    study_id: int
    drafted_at: datetime
    model: str  # name and version
    is_synthetic: bool
    is_withdrawn: bool
    rouge_l: float  # 0 to 1
    counts: Counts

    @property
    def severity(self) -> tuple[int, int, float]:
        """The larger, the further apart: what may harm most first."""
        counts = self.counts
        return counts.contradicted + counts.side_differs, counts.missed + counts.added, 1 - self.rouge_l


@dataclass(frozen=True)
class Sample:
    """Some comparisons, and what they say together."""

    studies: Sequence[ComparedStudy]

    @property
    def withdrawn(self) -> int:
        return sum(each.is_withdrawn for each in self.studies)

    @property
    def has_synthetic(self) -> bool:
        return any(each.is_synthetic for each in self.studies)

    @property
    def models(self) -> Sequence[str]:
        return sorted({each.model for each in self.studies})

    @cached_property
    def counts(self) -> Counts:
        return sum((each.counts for each in self.studies), Counts())

    @cached_property
    def rouge_l(self) -> Median | None:
        return median(each.rouge_l for each in self.studies)

    def furthest_apart(self, most: int) -> Sequence[ComparedStudy]:
        """Those that differ in a finding, the worst first."""
        apart = [each for each in self.studies if each.severity[:2] != (0, 0)]
        return sorted(apart, key=lambda each: (each.severity, each.study_id), reverse=True)[:most]


@dataclass(frozen=True)
class Figures:
    """What the command and the page show."""

    sample: Sample
    findings: Mapping[str, Counts]  # by finding, the most often named first
    by_month: bool
    periods: Mapping[date, Sample]  # by the first day; weeks begin on Monday


def read_figures(session: Session, wanted: Wanted, zone: ZoneInfo) -> Figures:
    """zone: in which days begin."""
    conditions = _conditions(wanted, zone)
    studies, findings = _read_studies(session, conditions), _read_findings(session, conditions)
    by_month, periods = _by_period(studies, zone)
    return Figures(Sample(studies), findings, by_month, periods)


def compared_models(session: Session) -> Sequence[str]:
    """The names of those whose drafts were compared."""
    drafted = select(Report.model_name).join(Agreement, col(Agreement.report_id) == col(Report.id)).distinct()
    return session.exec(drafted.order_by(Report.model_name)).all()


def _conditions(wanted: Wanted, zone: ZoneInfo) -> list[ColumnElement[bool]]:
    first = max(wanted.since or _FIRST_FILM, _FIRST_FILM)
    since = [col(Report.created_at) >= datetime.combine(first, time(), zone)]
    return [*since, col(Report.model_name) == wanted.model] if wanted.model else since


def _counting() -> list[ColumnElement[int]]:
    """A column for each of COUNTED."""
    outcome, absent = col(FindingAgreement.outcome), Presence.ABSENT
    is_contradicted = or_(col(FindingAgreement.draft) == absent, col(FindingAgreement.final) == absent)
    kinds = [outcome == each for each in Outcome]
    return [func.count(case((each, 1))) for each in (*kinds, is_contradicted)]


def _read_studies(session: Session, conditions: Sequence[ColumnElement[bool]]) -> list[ComparedStudy]:
    """Oldest first."""
    shown = (
        col(Agreement.study_id), col(Report.created_at), col(Report.model_name), col(Report.model_version),
        col(Report.model_is_synthetic), col(Report.withdrawn_at), col(Agreement.rouge_l),
    )  # fmt: skip
    statement = (
        sqlalchemy.select(*shown, *_counting())
        .select_from(Agreement)
        .join(Report, col(Report.id) == col(Agreement.report_id))
        .outerjoin(FindingAgreement, col(FindingAgreement.agreement_id) == col(Agreement.id))
        .where(*conditions)
        .group_by(*shown)
        .order_by(col(Report.created_at), col(Agreement.study_id))
    )
    return [
        ComparedStudy(
            study_id, at, f"{name} {version}", is_synthetic, withdrawn_at is not None, rouge_l, Counts(*counts)
        )
        for study_id, at, name, version, is_synthetic, withdrawn_at, rouge_l, *counts in session.execute(statement)
    ]


def _read_findings(session: Session, conditions: Sequence[ColumnElement[bool]]) -> Mapping[str, Counts]:
    """The most often named first."""
    statement = (
        sqlalchemy.select(col(FindingAgreement.finding), *_counting())
        .join(Agreement, col(Agreement.id) == col(FindingAgreement.agreement_id))
        .join(Report, col(Report.id) == col(Agreement.report_id))
        .where(*conditions)
        .group_by(col(FindingAgreement.finding))
    )
    found = [(name, Counts(*counts)) for name, *counts in session.execute(statement)]
    return dict(sorted(found, key=lambda each: (-each[1].named, each[0])))


def _by_period(studies: Sequence[ComparedStudy], zone: ZoneInfo) -> tuple[bool, Mapping[date, Sample]]:
    """studies: oldest first. A period without any is left out."""
    days = [each.drafted_at.astimezone(zone).date() for each in studies]
    by_month = bool(days) and days[-1] - days[0] > timedelta(weeks=_MOST_WEEKS)
    periods: dict[date, list[ComparedStudy]] = {}
    for day, study in zip(days, studies, strict=True):
        first = day.replace(day=1) if by_month else day - timedelta(days=day.weekday())
        periods.setdefault(first, []).append(study)
    return by_month, {first: Sample(found) for first, found in periods.items()}
