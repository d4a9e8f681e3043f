"""The worker role: the model in a child process, threads that submit to it, the table or the broker as the bell."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from dicom_node import logs
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, open_current
from dicom_node.heartbeat import Pulse, beating
from dicom_node.image_folder import open_store
from dicom_node.models import Job
from dicom_node.orphans import take_over
from dicom_node.rounds import every, together
from dicom_node.rules.rule_file import rule_file
from workers.comparing import Comparing
from workers.engine_process import EngineProcess
from workers.inference import Reader, infer
from workers.ruling import Ruling
from workers.terms import require_terms

_LONGEST_DECODE_S = 120.0
_LONGEST_BESIDE_S = 120.0

_log = logs.get("worker")


def run(settings: Settings, stop: threading.Event) -> None:
    """Load the model, then take jobs until told to stop."""
    engine = open_current(settings)
    require_terms(settings)
    _log.info("model_loading")
    writer = EngineProcess(
        settings.checkpoint_dir, max_new_tokens=settings.max_new_tokens, timeout_s=settings.inference_timeout_s
    )
    sessions, rules = Sessions(engine), rule_file(settings)
    store = open_store(settings, sessions)
    ruling = Ruling(sessions, store, settings, rules, utc_now) if rules else None
    pulse = Pulse(lacks=lambda: (rules.lacks if rules else "") if writer.is_ready else "the model is not loaded")
    with beating("worker", sessions, pulse):
        writer.start()
        identity = writer.identity
        _log.info("model_ready", model=identity.name, version=identity.version, digest=identity.digest)
        reader = Reader(sessions, store, writer, settings, utc_now, stop, ruling)
        lock = take_over(engine, sessions, settings, utc_now(), Job)
        try:
            # So that what is urgent by rule does not wait behind what is not, and a comparison not behind drafts.
            decide, interval_s = ruling.decide_waiting if ruling else None, settings.poll_interval_s
            compare = Comparing(sessions, utc_now).compare_due
            with _beside("rules", decide, interval_s, pulse), _beside("comparing", compare, interval_s, pulse):
                _serve(reader, stop, pulse)
        finally:
            writer.close()
            lock.close()


@contextmanager
def _beside(name: str, work: Callable[[], bool] | None, interval_s: float, pulse: Pulse) -> Iterator[None]:
    """Work that goes on in a thread of its own beside those that draft; None: there is none."""
    if work is None:
        yield
        return
    over, beat = threading.Event(), partial(pulse.beat, name, longest_s=_LONGEST_BESIDE_S + interval_s)
    thread = threading.Thread(target=every, args=(interval_s, over, work, beat), name=name)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _serve(reader: Reader, stop: threading.Event, pulse: Pulse) -> None:
    if reader.settings.broker_url is None:
        _serve_table(reader, stop, pulse)
        return
    from workers.celery_app import serve_broker  # Celery takes half a second to import

    serve_broker(reader, stop, pulse)


def _serve_table(reader: Reader, stop: threading.Event, pulse: Pulse) -> None:
    """Without a broker: several threads claim from the job table, and wait in line for the model."""
    settings = reader.settings
    longest_s = settings.longest_drafting_s + _LONGEST_DECODE_S + settings.poll_interval_s
    works = {f"reader-{each}": partial(infer, reader) for each in range(settings.inference_threads)}
    together(settings.poll_interval_s, stop, works, partial(pulse.beat, longest_s=longest_s))
