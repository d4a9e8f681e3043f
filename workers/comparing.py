"""Drafts are compared with what radiologists signed: what is due is a query, and a comparison is one transaction.

The query walks over the final reports. Where it has come to is kept in memory alone: a worker that starts walks from
the first, and all do again each hour, for what became one patient meanwhile, or was drafted after its final report.
Texts are read and labelled before the database is locked: whoever receives does not wait for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import cast

from sqlalchemy import and_, exists, or_
from sqlmodel import Session, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node import logs
from dicom_node.agreement.outcome import agreement_on
from dicom_node.clock import Clock
from dicom_node.database import AWAY, Sessions
from dicom_node.deliveries import reports_of
from dicom_node.labels import Label
from dicom_node.models import Agreement, FinalReport, FindingAgreement, Job, Report, Study
from dicom_node.orders import finals_of
from workers.evaluation.rouge import rouge_l
from workers.labelling.findings import FINDINGS
from workers.labelling.labeller import label, labeller
from workers.labelling.sections import findings_of

_AT_ONCE = 20  # final reports
_CORRECTED = "C"  # OBR-25
_LONGEST = 50_000  # characters; what is longer is no text, but a document that somebody wrote as one
_WALK_AGAIN_AFTER = timedelta(hours=1)

_log = logs.get("comparing")


@dataclass
class Comparing:
    """One worker's walk. Others may walk beside it."""

    sessions: Sessions
    clock: Clock
    _looked_at: int = 0  # the final reports up to this one, in this walk
    _walks_since: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._walks_since = self.clock()

    def compare_due(self) -> bool:
        """Look at some final reports, and compare what they call for. Returns whether there may be more."""
        with self.sessions() as session:
            ahead = select(FinalReport.id).where(col(FinalReport.id) > self._looked_at)
            finals = session.exec(ahead.order_by(col(FinalReport.id)).limit(_AT_ONCE)).all()
            studies = session.exec(_to_compare(finals)).all() if finals else ()
        for study_id in studies:
            self._compare_if_possible(cast(int, study_id))
        if not finals:
            return self._begins_anew()
        self._looked_at = cast(int, finals[-1])
        return len(finals) == _AT_ONCE

    def _begins_anew(self) -> bool:
        """At the end of a walk, never within one: a long one would not come to its end."""
        is_time = self.clock() - self._walks_since >= _WALK_AGAIN_AFTER
        if is_time:
            self._looked_at, self._walks_since = 0, self.clock()
        return is_time

    def _compare_if_possible(self, study_id: int) -> None:
        try:
            with self.sessions() as session:
                made = _compare(session, study_id)
            if made is not None:
                with self.sessions.begin() as session:
                    _put(session, study_id, made, self.clock())
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001  one text that cannot be read holds up neither others nor drafting
            _log.error("comparison_left_out", study=study_id, trace=logs.places(error))


@dataclass(frozen=True)
class _Comparison:
    """What came of it."""

    report_id: int
    final_report_id: int
    rouge_l: float
    draft: Mapping[str, Label]  # by finding
    final: Mapping[str, Label]


@cache
def rules_digest() -> str:
    """Over what cuts and labels the texts: where it is another, comparisons are made anew, so that all can be added."""
    digest = sha256(labeller().digest.encode())
    digest.update(files("workers.labelling").joinpath("sections.py").read_bytes())
    return digest.hexdigest()


def _to_compare(final_ids: Sequence[int | None]) -> SelectOfScalar[int | None]:
    """The drafted studies that one of these final reports may be of, and that are not compared with it or a later."""
    number = col(FinalReport.accession_number)
    is_of = or_(
        col(FinalReport.study_instance_uid) == col(Study.study_instance_uid),
        and_(number == col(Study.accession_number), number != ""),
    )
    drafts = select(Report.id).join(Job).where(Job.study_id == Study.id)
    newest = drafts.order_by(col(Job.revision).desc()).limit(1).correlate(Study).scalar_subquery()
    compared = (
        select(Agreement.id)
        .where(Agreement.study_id == Study.id, col(Agreement.report_id) == newest)
        .where(col(Agreement.final_report_id) >= col(FinalReport.id), Agreement.rules_digest == rules_digest())
    )
    has_text = (col(FinalReport.text) != "") | (col(FinalReport.findings) != "")
    studies = select(col(Study.id)).select_from(FinalReport).join(Study, is_of).distinct()
    return studies.where(col(FinalReport.id).in_(final_ids), has_text, exists(drafts), ~exists(compared))


def _compare(session: Session, study_id: int) -> _Comparison | None:
    """The newest draft and the newest signed text; None where one is missing, or both were compared before."""
    study = session.get_one(Study, study_id)
    reports, finals = reports_of(session, study), [each for each in finals_of(session, study) if _signed(each)]
    if not reports or not finals:
        return None
    report, final = reports[-1], _standing(finals)
    before = _agreement(session, study_id)
    if before is not None and _is_current(before, cast(int, report.id), cast(int, final.id)):
        return None
    signed = _signed(final)
    # Both are labelled now, by the same rules: the labels kept with a draft may be of older ones.
    labels = _labels(report.findings), _labels(signed)
    return _Comparison(cast(int, report.id), cast(int, final.id), rouge_l(signed, report.findings), *labels)


def _standing(finals: Sequence[FinalReport]) -> FinalReport:
    """The newest; but what the RIS has corrected stays corrected, also when the report before is sent once more."""
    newest = finals[-1]
    same = [each for each in finals if each.filler_order_number == newest.filler_order_number]
    return next((each for each in reversed(same) if each.status == _CORRECTED), newest)


def _put(session: Session, study_id: int, made: _Comparison, now: datetime) -> None:
    """In the place of an older one."""
    session.get_one(Study, study_id, with_for_update=True)  # whoever else is at it waits, and then finds it done
    before = _agreement(session, study_id)
    if before is not None:
        if _is_current(before, made.report_id, made.final_report_id):
            return
        session.exec(delete(FindingAgreement).where(col(FindingAgreement.agreement_id) == before.id))
        session.delete(before)
        session.flush()
    _add(session, study_id, made, now)
    _log.info("draft_compared", study=study_id, report=made.report_id)


def _agreement(session: Session, study_id: int) -> Agreement | None:
    return session.exec(select(Agreement).where(Agreement.study_id == study_id)).one_or_none()


def _is_current(before: Agreement, report_id: int, final_report_id: int) -> bool:
    """Of these or of later ones, by the same rules."""
    is_as_new = before.report_id >= report_id and before.final_report_id >= final_report_id
    return is_as_new and before.rules_digest == rules_digest()


def _signed(final: FinalReport) -> str:
    """What the radiologist says of the film; empty where the message had no text, but a document."""
    text = final.findings or final.text
    return findings_of(text) if len(text) <= _LONGEST else ""


def _add(session: Session, study_id: int, made: _Comparison, now: datetime) -> None:
    agreement = Agreement(
        study_id=study_id,
        report_id=made.report_id,
        final_report_id=made.final_report_id,
        rules_digest=rules_digest(),
        rouge_l=made.rouge_l,
        compared_at=now,
    )
    session.add(agreement)
    session.flush()
    names = [finding.code.meaning for finding in FINDINGS]
    agreement_id = cast(int, agreement.id)
    rows = (agreement_on(name, made.draft.get(name), made.final.get(name), agreement_id=agreement_id) for name in names)
    session.add_all([row for row in rows if row is not None])


def _labels(text: str) -> dict[str, Label]:
    return {each.finding.meaning: each for each in label(text).labels}
