"""The broker: Celery over Redis. Imported only where one is configured: Celery takes half a second to import."""

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.queue import QUEUE_NAME, TASK_NAME

_log = logs.get("broker")


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


class BrokerBell:
    """The bell as Celery's queue."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_broker(settings)
        # The sweep rings again: it does not wait for a broker that is away.
        options = self._app.conf.broker_transport_options
        self._app.conf.broker_transport_options = {**options, "max_retries": 1, "interval_start": 0}

    def ring(self, job_id: int, priority: int) -> bool:
        """Whether the broker has it."""
        try:
            self._app.send_task(TASK_NAME, args=[job_id], priority=priority, retry=False)
        except (OperationalError, OSError) as error:
            _log.warning("bell_not_rung", job=job_id, error=type(error).__name__)
            return False
        return True

    def unheard(self) -> int:
        """How many rings no worker has taken; 0 from a broker that is away, or that has no such queue."""
        try:
            with self._app.connection_for_read() as connection:
                declared = connection.default_channel.queue_declare(QUEUE_NAME, passive=True)
        except (ChannelError, OperationalError, OSError):
            return 0
        return int(declared.message_count)
