"""One job from QUEUED to its answer: a draft, a named reason for skipping, another try, or a failure for a person."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar, cast

from sqlmodel import col
from structlog.stdlib import BoundLogger

from dicom_node import logs
from dicom_node.attention import maps_to_png
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import AWAY, Sessions
from dicom_node.deliveries import add_deliveries, came_again, cancel_pending, have_a_draft, reports_of
from dicom_node.errors import BadCheckpoint, CaseClosed, EngineAway, NodeError, Permanent, Transient
from dicom_node.flags import Flag, flags_to_json, remark
from dicom_node.labels import labels_to_json
from dicom_node.lifecycle import advance, claim, is_any_due, put_back
from dicom_node.models import Instance, Job, Report, Study
from dicom_node.orders import hurried, order_of, require_open_case
from dicom_node.queue import ready
from dicom_node.rounds import persist
from dicom_node.rules.verdict import Decision
from dicom_node.states import KEPT_HERE, SUPERSEDED, JobState
from dicom_node.storage import InstanceStore
from dicom_node.study_identity import StudyIdentity, read_identity
from workers.choice import choose
from workers.hanging import refuse
from workers.labelling.labeller import label
from workers.llavarad.careful import flag_findings
from workers.llavarad.findings import Findings, Writer
from workers.pixels import read_pixels
from workers.ruling import Ruling
from workers.selection import CONTRADICTIONS, Skipped, SkipReason

_RETRY_AFTER_S = 5.0
_LEASE_MARGIN_S = 1_200.0  # decoding, and loading the model anew after it was lost (900 s at most)

_Made = TypeVar("_Made")

_log = logs.get("inference")


@dataclass(frozen=True)
class Reader:
    """What drafting needs: where the images are, who writes, and what the site wants."""

    sessions: Sessions
    store: InstanceStore
    writer: Writer
    settings: Settings
    clock: Clock
    stop: threading.Event = field(default_factory=threading.Event)  # set: do not wait for a database that is away
    ruling: Ruling | None = None  # None: the site has no rules


@dataclass(frozen=True)
class _Request:
    """Why the image was made, and how urgent the answer is."""

    indication: str  # empty if nobody says
    priority: int


@dataclass(frozen=True)
class _Extras:
    """What is kept beside the draft where it could be made."""

    labels: str  # empty: none
    attention: bytes | None


def infer(reader: Reader, job_id: int | None = None) -> bool:
    """Draft the given job, or the most urgent due one. False: there was nothing to claim.

    The second of the three catchers: whatever happens ends in a state of the job. Raises BadCheckpoint or EngineAway
    when the model cannot be loaded: that is the worker's fault, not the study's, and ends the role.
    """
    job = _claim(reader, job_id)
    if job is None:
        return False
    log = _log.bind(job=job.id, study=job.study_id, attempt=job.attempts)
    started = time.monotonic()
    try:
        _answer(reader, job)
        log.info("job_answered", seconds=round(time.monotonic() - started, 3))
    except (BadCheckpoint, EngineAway) as error:
        persist(reader.stop, partial(_give_back, reader, job, str(error)))
        raise
    except (Transient, OSError, *AWAY) as error:
        words = str(error) if isinstance(error, Transient) else "the database or the instance folder was away"
        log.warning("job_put_back", reason=words, trace=logs.places(error))
        persist(reader.stop, partial(_put_back, reader, job, words))
    except NodeError as error:
        log.error("job_failed", reason=str(error), trace=logs.places(error))
        persist(reader.stop, partial(_settle, reader, job, JobState.FAILED, str(error)))
    except Exception as error:  # noqa: BLE001  unknown: a person must look
        log.error("job_failed", trace=logs.places(error))
        words = f"unexpected {type(error).__name__}: see the log"
        persist(reader.stop, partial(_settle, reader, job, JobState.FAILED, words))
    return True


def _claim(reader: Reader, job_id: int | None) -> Job | None:
    if reader.ruling is not None and reader.ruling.rules.in_force() is None:
        return None  # no attempt is counted: the study is not to blame
    if job_id is None and not is_any_due(reader.sessions, Job, reader.clock()):
        return None
    only = () if job_id is None else (col(Job.id) == job_id,)
    conditions = (*only, *ready(reader.settings))
    lease_s = reader.settings.longest_drafting_s + _LEASE_MARGIN_S
    with reader.sessions.begin() as session:
        # A job that was rung for is waited for: the sweep may still hold it to note the ring, and rings but once.
        return claim(session, Job, *conditions, now=reader.clock(), lease_s=lease_s, skip_locked=job_id is None)


def _answer(reader: Reader, job: Job) -> None:
    with reader.sessions() as session:
        choice = choose(session, job, reader.settings)
    if isinstance(choice, Skipped):
        _skip(reader, job, choice)
        return
    job, only = _ask_rules(reader, job, choice.instance)
    if job.state == JobState.SKIPPED:
        return
    image = reader.store.open(choice.instance.path)
    try:
        request = _meet_order(reader, job, read_identity(image))
    except CaseClosed as closed:
        _settle(reader, job, JobState.SKIPPED, str(closed))
        return
    if refusal := refuse(image):
        _settle(reader, job, JobState.SKIPPED, refusal.words)
        return
    findings = reader.writer.write_findings(read_pixels(image), indication=request.indication or None)
    _report(reader, job, choice.instance, findings=findings, request=request, only=only)


def _skip(reader: Reader, job: Job, choice: Skipped) -> None:
    """Where a draft of what contradicts itself now may have gone out, somebody must know."""
    with reader.sessions.begin() as session:
        job = session.merge(job, load=False)
        state, words = JobState.SKIPPED, choice.words
        if choice.reason in CONTRADICTIONS:
            drafts = reports_of(session, session.get_one(Study, job.study_id))
            if choice.reason == SkipReason.TWO_VERSIONS:
                drafts = [each for each in drafts if came_again(session, each)]
            if names := sorted(have_a_draft(session, drafts)):
                state, words = JobState.FAILED, f"{words}; {', '.join(names)} may have a draft of it: withdraw that"
        advance(session, job, state, now=reader.clock(), reason=words)


def _ask_rules(reader: Reader, job: Job, instance: Instance) -> tuple[Job, tuple[str, ...] | None]:
    """What they said of this image when they were asked, or say now. Returns the job, and for whom; None: for all.

    Raises Permanent if that is somebody whom the settings do not know any more.
    """
    decision = Decision.from_json(job.decision) if job.decision else None
    if reader.ruling is not None and (decision is None or decision.instance_id != instance.id):
        job = reader.ruling.decide(job, instance)
        decision = Decision.from_json(cast(str, job.decision))
    if decision is None or decision.destinations is None:
        return job, None
    if unknown := set(decision.destinations).difference(reader.settings.destination_names):
        raise Permanent(
            f"rule {decision.rule} sends it to {', '.join(sorted(unknown))}, which the settings do not name"
        )
    return job, decision.destinations


def _meet_order(reader: Reader, job: Job, identity: StudyIdentity) -> _Request:
    """What is asked for, by the image and by the order that it answers. Raises OrderConflict or CaseClosed."""
    with reader.sessions.begin() as session:
        identity.remember(session.get_one(Study, job.study_id))  # also of a study that is held
    with reader.sessions() as session:
        study = session.get_one(Study, job.study_id)
        require_open_case(session, study)
        order = order_of(session, study)
    if order is None:
        return _Request(identity.reason_for_study, job.priority)
    reason = identity.reason_for_study or order.reason_for_study
    return _Request(reason, hurried(job.priority, order.priority))


def _report(
    reader: Reader,
    job: Job,
    instance: Instance,
    *,
    findings: Findings,
    request: _Request,
    only: tuple[str, ...] | None,
) -> None:
    """Store the draft and one delivery per destination, in the transaction that ends the job's inference."""
    now, settings = reader.clock(), reader.settings
    flags, extras = _flag(findings, settings), _add_extras(job, findings)
    with reader.sessions.begin() as session:
        job = session.merge(job, load=False)
        stored = remark("draft stored", flags, is_synthetic=reader.writer.identity.is_synthetic)
        if not advance(session, job, JobState.REPORTED, now=now, reason=stored):
            return  # the lease was lost; whoever has it now will answer
        earlier = reports_of(session, session.get_one(Study, job.study_id))
        cancel_pending(session, earlier, now, SUPERSEDED)  # first: what it finds no more is on its way
        if only is not None:  # who has an earlier draft must not be left with it
            only = (*only, *have_a_draft(session, earlier))
        report = _report_row(reader, job, instance, findings=findings, flags=flags, extras=extras)
        report.indication = request.indication
        session.add(report)
        session.flush()
        if not add_deliveries(session, settings, report, now, priority=request.priority, only=only):
            why = "its rule names no destination" if settings.deliveries else "no destination is configured"
            advance(session, job, JobState.DONE, now=now, reason=f"{why}: {KEPT_HERE}")


def _flag(findings: Findings, settings: Settings) -> tuple[Flag, ...]:
    return flag_findings(
        findings.text,
        token_count=findings.token_count,
        max_new_tokens=settings.max_new_tokens,
        cropped_fraction=findings.cropped_fraction,
    )


def _add_extras(job: Job, findings: Findings) -> _Extras:
    maps, log = findings.attention, _log.bind(job=job.id, study=job.study_id)
    labels = _make_or_go_without(log, "labels_left_out", lambda: labels_to_json(label(findings.text)))
    if findings.attention_fault:
        log.warning("attention_left_out", trace=findings.attention_fault)
    if maps is None or not len(maps):
        return _Extras(labels or "", None)
    return _Extras(labels or "", _make_or_go_without(log, "attention_left_out", lambda: maps_to_png(maps)))


def _make_or_go_without(log: BoundLogger, event: str, make: Callable[[], _Made]) -> _Made | None:
    try:
        return make()
    except Exception as error:  # noqa: BLE001  the draft does not wait for what is only added to it
        log.warning(event, trace=logs.places(error))
        return None


def _report_row(
    reader: Reader, job: Job, instance: Instance, *, findings: Findings, flags: tuple[Flag, ...], extras: _Extras
) -> Report:
    identity = reader.writer.identity
    return Report(
        job_id=cast(int, job.id),
        instance_id=cast(int, instance.id),
        findings=findings.text,
        flags=flags_to_json(flags),
        model_name=identity.name,
        model_version=identity.version,
        model_digest=identity.digest,
        model_is_synthetic=identity.is_synthetic,
        token_count=findings.token_count,
        cropped_fraction=findings.cropped_fraction,
        labels=extras.labels,
        attention=extras.attention,
        seconds=findings.seconds,
        created_at=reader.clock(),
    )


def _settle(reader: Reader, job: Job, state: JobState, reason: str) -> None:
    with reader.sessions.begin() as session:
        job = session.merge(job, load=False)
        advance(session, job, state, now=reader.clock(), reason=reason)


def _give_back(reader: Reader, job: Job, reason: str) -> None:
    """Put back without an attempt: the study was not to blame."""
    now = reader.clock()
    with reader.sessions.begin() as session:
        job = session.merge(job, load=False)
        advance(session, job, JobState.QUEUED, now=now, reason=reason, due_at=now, attempts=job.attempts - 1)


def _put_back(reader: Reader, job: Job, reason: str) -> None:
    now = reader.clock()
    due_at = now + timedelta(seconds=_RETRY_AFTER_S * job.attempts)
    with reader.sessions.begin() as session:
        job = session.merge(job, load=False)
        put_back(session, job, now=now, due_at=due_at, max_attempts=reader.settings.max_job_attempts, reason=reason)
