"""The rules are asked about the image that selection has chosen: they keep it from being read, or say for whom.

So no rule can have an image read that selection refuses. What they say is written down with the job and with the image
it was said of; a file that changes later changes nothing of it.
"""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import AWAY, Sessions
from dicom_node.errors import OrderConflict, Transient
from dicom_node.lifecycle import advance, note
from dicom_node.models import Instance, Job, Series, Study
from dicom_node.orders import hurried, order_of, priority_of
from dicom_node.rules.film import Film, read_film
from dicom_node.rules.rule import PRIORITIES, Rule
from dicom_node.rules.rule_file import RuleFile
from dicom_node.rules.verdict import Decision, Verdict, judge
from dicom_node.states import JobState
from dicom_node.storage import InstanceStore
from dicom_node.study_identity import read_identity
from workers.choice import choose
from workers.selection import Skipped

_AT_ONCE = 50
_LEFT_TO_WORKER = Decision(instance_id=None)

_log = logs.get("ruling")


@dataclass(frozen=True)
class Ruling:
    """Asks the rules in force, and writes down what they say."""

    sessions: Sessions
    store: InstanceStore
    settings: Settings
    rules: RuleFile
    clock: Clock

    def decide_waiting(self) -> bool:
        """Ask about the jobs that no worker may take before that. Returns whether there may be more.

        Without rules in force nothing is decided, so nothing is drafted.
        """
        if self.rules.in_force() is None:
            return False
        undecided = select(Job).where(Job.state == JobState.QUEUED, col(Job.decision).is_(None))
        with self.sessions() as session:
            jobs = session.exec(undecided.order_by(col(Job.id)).limit(_AT_ONCE)).all()
        for job in jobs:
            self._decide_if_possible(job)
        return len(jobs) == _AT_ONCE

    def decide(self, job: Job, instance: Instance) -> Job:
        """Ask about an image and write it down. Returns the job as it is then: with its decision, or skipped.

        Raises Transient if no rules are in force or somebody else has the job by now; what `film_of` raises.
        """
        decided = self._ask(job, instance)
        if decided is None:
            raise Transient("somebody else has the job by now")
        return decided

    def _decide_if_possible(self, job: Job) -> None:
        """What there is no image for, or none that can be asked about, is left to the worker, which says why."""
        with self.sessions() as session:
            choice = choose(session, job, self.settings)
        if isinstance(choice, Skipped):
            self._write(job, _LEFT_TO_WORKER)
            return
        try:
            self._ask(job, choice.instance)
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001  one film holds up neither others nor the drafting of what was asked
            _log.warning("rules_not_asked", job=job.id, study=job.study_id, trace=logs.places(error))
            self._write(job, _LEFT_TO_WORKER)

    def _ask(self, job: Job, instance: Instance) -> Job | None:
        rules = self.rules.in_force()
        if rules is None:
            raise Transient(f"the rules cannot be asked: {self.rules.fault}")
        identity = read_identity(self.store.open(instance.path))
        with self.sessions.begin() as session:
            identity.remember(session.get_one(Study, job.study_id))  # its order is found by that
        verdict = judge(rules, film_of(self.sessions, self.store, instance))
        return self._write(job, _decision(instance, verdict.rule), verdict)

    def _write(self, job: Job, decision: Decision, verdict: Verdict | None = None) -> Job | None:
        """Returns the job as it is then; None if it is not as it was read any more."""
        with self.sessions.begin() as session:
            # Locked, so that an order that comes now and calls it urgent waits, and is not written over.
            row = session.get_one(Job, job.id, with_for_update=True)
            if (row.state, row.attempts, row.decision) != (job.state, job.attempts, job.decision):
                return None
            rule = verdict.rule if verdict else None
            row.decision, row.priority = decision.to_json(), _priority(session, row, rule)
            session.add(row)
            session.flush()
            if rule is not None and not rule.is_read:
                advance(session, row, JobState.SKIPPED, now=self.clock(), reason=rule.words)
            elif verdict is not None:
                note(session, row, self.clock(), verdict.words)
            return row


def film_of(sessions: Sessions, store: InstanceStore, instance: Instance) -> Film:
    """What rules can ask of a stored image. Raises InvalidHeader, StorageAway or OSError where its file cannot be read.

    An order of another patient says nothing here; it holds the draft.
    """
    with sessions() as session:
        series = session.get_one(Series, instance.series_id)
        code = _ordered_code(session, session.get_one(Study, series.study_id))
    return read_film(
        store.open(instance.path),
        modality=series.modality,
        body_part=instance.body_part,
        view_position=instance.view,
        calling_ae=instance.calling_ae,
        ordered_code=code,
    )


def _ordered_code(session: Session, study: Study) -> str:
    try:
        order = order_of(session, study)
    except OrderConflict:
        return ""
    return order.procedure_code if order else ""


def _decision(instance: Instance, rule: Rule | None) -> Decision:
    return Decision(instance.id, rule.name, rule.destinations) if rule else Decision(instance.id)


def _priority(session: Session, job: Job, rule: Rule | None) -> int:
    ordered = priority_of(session, session.get_one(Study, job.study_id))
    return hurried(PRIORITIES[rule.priority], ordered) if rule and rule.priority else ordered
