"""The bell: a Celery message that holds a job's id. The row is the truth; a lost bell is rung again."""

from collections.abc import Callable
from datetime import datetime, timedelta

from celery import Celery
from kombu.exceptions import OperationalError
from sqlmodel import Session, col, or_, select

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.models import Job
from dicom_node.states import JobState

TASK_NAME = "workers.infer"
QUEUE_NAME = "infer"
RING_AGAIN_AFTER_S = 60.0

Ring = Callable[[int, int], bool]  # (job id, priority) -> the broker has it

_log = logs.get("queue")


def make_broker(settings: Settings) -> Celery:
    """The Celery application, without tasks. Settings as measured with Redis: the first two bring back the task of a
    worker that died in seconds instead of minutes.
    """
    if settings.broker_url is None:
        raise ValueError("broker_url is not set")
    app = Celery("dicom_node", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        broker_transport_options={
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "visibility_timeout": 300,
            "queue_order_strategy": "priority",
            "priority_steps": [0, 3, 6, 9],  # Redis: 0 is the highest
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
        },
        task_acks_late=True,
        task_default_queue=QUEUE_NAME,
        task_ignore_result=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        worker_soft_shutdown_timeout=30,
    )
    return app


def make_ring(settings: Settings) -> Ring | None:
    """How to ring, or None when workers look at the table themselves."""
    if settings.broker_url is None:
        return None
    app = make_broker(settings)
    # The sweep rings again: it does not wait for a broker that is away.
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "max_retries": 1, "interval_start": 0}

    def ring(job_id: int, priority: int) -> bool:
        try:
            app.send_task(TASK_NAME, args=[job_id], priority=priority, retry=False)
        except (OperationalError, OSError) as error:
            _log.warning("bell_not_rung", job=job_id, error=type(error).__name__)
            return False
        return True

    return ring


def jobs_to_ring(session: Session, now: datetime) -> list[Job]:
    """Due jobs the broker has not heard of lately, most urgent first."""
    lately = now - timedelta(seconds=RING_AGAIN_AFTER_S)
    silent = or_(col(Job.rung_at).is_(None), col(Job.rung_at) < col(Job.due_at), col(Job.rung_at) < lately)
    due = select(Job).where(Job.state == JobState.QUEUED, Job.due_at <= now, silent)
    return list(session.exec(due.order_by(col(Job.priority), col(Job.due_at)).limit(200)))
