"""The sweep: closes quiet studies, takes back what dead processes held, rings the bell. All of it is due rows.

And makes due again what a clock that was ahead has dated.
"""

import threading
from functools import partial

from dicom_node import logs
from dicom_node.clock import Clock, utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, open_current
from dicom_node.heartbeat import Pulse, beating
from dicom_node.misdated import recall, shorten_leases
from dicom_node.models import Commitment, Delivery, Job, Pull
from dicom_node.orphans import return_orphans
from dicom_node.queue import Bell, count_due, jobs_long_rung, jobs_to_ring, ready
from dicom_node.receive.completeness import MOST_AT_ONCE, close_quiet_studies, is_any_open
from dicom_node.rounds import every

_LONGEST_ROUND_S = 120.0

_log = logs.get("sweep")


def run(settings: Settings, stop: threading.Event) -> None:
    """The role: sweep until told to stop."""
    engine = open_current(settings)
    sessions, bell, pulse = Sessions(engine), _bell(settings), Pulse()
    beat = partial(pulse.beat, "sweep", longest_s=_LONGEST_ROUND_S + settings.poll_interval_s)
    with beating("sweep", sessions, pulse):
        every(settings.poll_interval_s, stop, lambda: sweep_once(sessions, settings, utc_now, bell), beat)


def _bell(settings: Settings) -> Bell | None:
    """None when workers look at the table themselves."""
    if settings.broker_url is None:
        return None
    from dicom_node.broker import BrokerBell

    return BrokerBell(settings)


def sweep_once(sessions: Sessions, settings: Settings, clock: Clock, bell: Bell | None) -> bool:
    """One round. Returns whether there may be more studies to close."""
    is_more = is_any_open(sessions) and _close_quiet(sessions, settings, clock) == MOST_AT_ONCE
    for kind in (Job, Delivery, Commitment, Pull):
        return_orphans(sessions, settings, clock(), kind)
        recall(sessions, settings, clock(), kind)
        shorten_leases(sessions, settings, clock(), kind)
    if bell is not None:
        _ring_bells(sessions, settings, clock, bell)
    return is_more


def _close_quiet(sessions: Sessions, settings: Settings, clock: Clock) -> int:
    """How many were closed."""
    with sessions.begin() as session:
        jobs = close_quiet_studies(
            session, now=clock(), idle_timeout_s=settings.idle_timeout_s, rules=settings.completeness
        )
        for job in jobs:
            _log.info("study_complete", study=job.study_id, job=job.id, revision=job.revision)
    return len(jobs)


def _ring_bells(sessions: Sessions, settings: Settings, clock: Clock, bell: Bell) -> None:
    now, conditions = clock(), ready(settings)
    with sessions() as session:
        silent = jobs_to_ring(session, now, *conditions)
        long_rung, due = jobs_long_rung(session, now, *conditions), count_due(session, now, *conditions)
    # No transaction is open while the broker is spoken to. Where it has a bell for each job, none is lost: while all
    # workers are away for days, bells rung every minute would fill its memory.
    if long_rung and bell.unheard() + len(silent) < due:
        silent += long_rung
    rung = []
    for job in silent:
        if job.id is None or not bell.ring(job.id, job.priority):
            break
        rung.append(job.id)
    if not rung:
        return
    with sessions.begin() as session:
        for job_id in rung:
            session.get_one(Job, job_id).rung_at = clock()
