"""The Celery worker: a task is the ring of a bell and the job's row the truth, so a task never fails or retries."""

import threading

from celery import Celery
from celery.platforms import EX_OK
from celery.signals import heartbeat_sent
from celery.worker import state

from dicom_node.broker import make_broker
from dicom_node.errors import BadCheckpoint, EngineAway, PeerUnreachable
from dicom_node.heartbeat import Pulse
from dicom_node.queue import QUEUE_NAME, TASK_NAME
from workers.inference import Reader, infer

_LONGEST_TURN_S = 60.0  # of the loop that consumes, which says every two seconds that it turns


def serve_broker(reader: Reader, stop: threading.Event, pulse: Pulse) -> None:
    """Consume bells until told to stop. Threads, never prefork: a forked child may not use CUDA or start processes.

    The pulse stops while the broker is away.

    Raises BadCheckpoint or EngineAway when the model cannot be loaded any more, and PeerUnreachable when Celery gives
    up: kombu 5.7 cannot restore tasks in work on a lost Redis connection.
    """
    failures: list[BadCheckpoint | EngineAway] = []
    app = make_app(reader, failures)
    worker = app.Worker(
        pool="threads",
        concurrency=reader.settings.inference_threads,
        queues=[QUEUE_NAME],
        loglevel=reader.settings.log_level,
        quiet=True,  # no banner between the lines of JSON
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
    )
    threading.Thread(target=_stop_when_told, args=(stop,), daemon=True).start()
    _beat(pulse)
    heartbeat_sent.connect(lambda **_: _beat(pulse), weak=False)
    worker.start()
    if failures:
        raise failures[0]
    if state.should_stop is None or state.should_stop is False:  # neither told to, nor by Celery's handler of SIGTERM
        raise PeerUnreachable("the broker was lost and the consumer ended")


def _beat(pulse: Pulse) -> None:
    pulse.beat("consumer", longest_s=_LONGEST_TURN_S)


def make_app(reader: Reader, failures: list[BadCheckpoint | EngineAway]) -> Celery:
    """The application with its one task; what ends the role is left in `failures`."""
    app = make_broker(reader.settings)

    @app.task(name=TASK_NAME)  # type: ignore[untyped-decorator]  # Celery ships no types
    def infer_job(job_id: int) -> None:
        try:
            infer(reader, job_id)
        except (BadCheckpoint, EngineAway) as error:
            failures.append(error)
            reader.stop.set()

    return app


def _stop_when_told(stop: threading.Event) -> None:
    """Ask Celery's loop to end, as its signal handler does: `stop()` from another thread leaves it running."""
    stop.wait()
    state.should_stop = EX_OK
