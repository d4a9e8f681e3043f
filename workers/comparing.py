"""Drafts are compared with what radiologists signed: what is due is a query, and a comparison is one transaction.

The query walks over the final reports. Where it has come to is kept in memory alone: a worker that starts walks from
the first, and all do again each hour, for what became one patient meanwhile, or was drafted after its final report.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import cast

from sqlalchemy import and_, exists, func, or_
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

_AT_ONCE = 200  # final reports
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
        now = self.clock()
        if now - self._walks_since >= _WALK_AGAIN_AFTER:
            self._looked_at, self._walks_since = 0, now
        with self.sessions() as session:
            ahead = select(FinalReport.id).where(col(FinalReport.id) > self._looked_at)
            finals = session.exec(ahead.order_by(col(FinalReport.id)).limit(_AT_ONCE)).all()
            studies = session.exec(_to_compare(finals)).all()
        for study_id in studies:
            self._compare_if_possible(cast(int, study_id))
        if finals:
            self._looked_at = cast(int, finals[-1])
        return len(finals) == _AT_ONCE

    def _compare_if_possible(self, study_id: int) -> None:
        try:
            with self.sessions.begin() as session:
                _compare_study(session, study_id, self.clock())
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001  one text that cannot be read holds up neither others nor drafting
            _log.error("comparison_left_out", study=study_id, trace=logs.places(error))


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
    newest = drafts.with_only_columns(func.max(Report.id)).correlate(Study).scalar_subquery()
    compared = (
        select(Agreement.id)
        .where(Agreement.study_id == Study.id, col(Agreement.report_id) == newest)
        .where(col(Agreement.final_report_id) >= col(FinalReport.id), Agreement.rules_digest == rules_digest())
    )
    studies = select(col(Study.id)).select_from(FinalReport).join(Study, is_of).distinct()
    return studies.where(col(FinalReport.id).in_(final_ids), exists(drafts), ~exists(compared))


def _compare_study(session: Session, study_id: int, now: datetime) -> None:
    """Put the comparison of a study in the place of an older one. Nothing is written where there is none to make."""
    # Locked: whoever else is at it waits, and then finds it done.
    study = session.get_one(Study, study_id, with_for_update=True)
    reports, finals = reports_of(session, study), [each for each in finals_of(session, study) if _signed(each)]
    before = session.exec(select(Agreement).where(Agreement.study_id == study_id)).one_or_none()
    if not reports or not finals or (before and _is_of(before, reports[-1], finals[-1])):
        return
    if before:
        session.exec(delete(FindingAgreement).where(col(FindingAgreement.agreement_id) == before.id))
        session.delete(before)
        session.flush()
    _add(session, study_id, reports[-1], finals[-1], now)
    _log.info("draft_compared", study=study_id, report=reports[-1].id)


def _is_of(before: Agreement, report: Report, final: FinalReport) -> bool:
    compared = (before.report_id, before.final_report_id, before.rules_digest)
    return compared == (report.id, final.id, rules_digest())


def _signed(final: FinalReport) -> str:
    """What the radiologist says of the film; empty where the message had no text, but a document."""
    return findings_of(final.findings or final.text)


def _add(session: Session, study_id: int, report: Report, final: FinalReport, now: datetime) -> None:
    signed = _signed(final)
    agreement = Agreement(
        study_id=study_id,
        report_id=cast(int, report.id),
        final_report_id=cast(int, final.id),
        rules_digest=rules_digest(),
        rouge_l=rouge_l(signed, report.findings),
        compared_at=now,
    )
    session.add(agreement)
    session.flush()
    session.add_all(_findings(report.findings, signed, cast(int, agreement.id)))


def _findings(draft: str, signed: str, agreement_id: int) -> list[FindingAgreement]:
    """Both are labelled now, by the same rules: the labels kept with a draft may be of older ones."""
    in_draft, in_final = _labels(draft), _labels(signed)
    names = (finding.code.meaning for finding in FINDINGS)
    rows = (agreement_on(name, in_draft.get(name), in_final.get(name), agreement_id=agreement_id) for name in names)
    return [row for row in rows if row is not None]


def _labels(text: str) -> dict[str, Label]:
    return {each.finding.meaning: each for each in label(text).labels}
