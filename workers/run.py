"""The worker role: the model in a child process, threads that submit to it, the table or the broker as the bell."""

import threading
from functools import partial

from dicom_node import logs
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import make_sessions, open_database, require_current_schema
from dicom_node.heartbeat import Pulse, beating
from dicom_node.models import Job
from dicom_node.orphans import take_over
from dicom_node.rounds import together
from dicom_node.storage import InstanceStore
from workers.engine_process import EngineProcess
from workers.inference import Reader, infer
from workers.terms import require_terms

_LONGEST_DECODE_S = 120.0

_log = logs.get("worker")


def run(settings: Settings, stop: threading.Event) -> None:
    """Load the model, then take jobs until told to stop."""
    engine = open_database(settings)
    require_current_schema(engine)
    require_terms(settings)
    _log.info("model_loading")
    writer = EngineProcess(
        settings.checkpoint_dir, max_new_tokens=settings.max_new_tokens, timeout_s=settings.inference_timeout_s
    )
    pulse = Pulse(lacks=lambda: "" if writer.is_ready else "the model is not loaded")
    sessions = make_sessions(engine)
    with beating("worker", sessions, pulse):
        writer.start()
        identity = writer.identity
        _log.info("model_ready", model=identity.name, version=identity.version, digest=identity.digest)
        reader = Reader(sessions, InstanceStore(settings.instances_dir), writer, settings, utc_now, stop)
        lock = take_over(engine, sessions, settings, utc_now(), Job)
        try:
            _serve(reader, stop, pulse)
        finally:
            writer.close()
            lock.close()


def _serve(reader: Reader, stop: threading.Event, pulse: Pulse) -> None:
    if reader.settings.broker_url is None:
        _serve_table(reader, stop, pulse)
        return
    from workers.celery_app import serve_broker  # Celery takes half a second to import

    serve_broker(reader, stop, pulse)


def _serve_table(reader: Reader, stop: threading.Event, pulse: Pulse) -> None:
    """Without a broker: several threads claim from the job table, and wait in line for the model."""
    settings, threads = reader.settings, range(reader.settings.inference_threads)
    longest_s = settings.inference_timeout_s * (len(threads) + 1) + _LONGEST_DECODE_S + settings.poll_interval_s
    works = {f"reader-{each}": partial(infer, reader) for each in threads}
    together(settings.poll_interval_s, stop, works, partial(pulse.beat, longest_s=longest_s))
