"""The puller: asks the sources for what their rules name, and has it sent. One thread each: none waits for another."""

import threading
import time
from collections.abc import Callable
from functools import partial

from dicom_node import logs
from dicom_node.audit import audited
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import open_current
from dicom_node.errors import Permanent, Transient
from dicom_node.heartbeat import Pulse, beating
from dicom_node.models import Pull
from dicom_node.orphans import take_over
from dicom_node.pull.puller import LONGEST_PULL_S, Puller
from dicom_node.receive.intake import Intake, Receiver
from dicom_node.rounds import together

_TIMEOUTS_PER_ROUND = 20

_log = logs.get("puller")


def run(settings: Settings, stop: threading.Event) -> None:
    """The role: pull until told to stop."""
    engine = open_current(settings)
    receiver = Receiver.of(settings, engine, utc_now)
    lock = take_over(engine, receiver.sessions, settings, utc_now(), Pull)
    _log.info("pulling", count=len(settings.sources))
    pulse = Pulse()
    with audited(settings, utc_now) as trail, beating("puller", receiver.sessions, pulse):
        pullers = [Puller(each, settings, receiver, Intake(receiver), trail, stop) for each in settings.sources]
        works = {f"pull-{each.source.name}": Rounds(each) for each in pullers}
        together(settings.poll_interval_s, stop, works, partial(pulse.beat, longest_s=_longest_round_s(settings)))
    lock.close()


def _longest_round_s(settings: Settings) -> float:
    """A poll, a pull, and whoever answers at the last moment."""
    slowest = max((source.timeout_s for source in settings.sources), default=0.0)
    return LONGEST_PULL_S + _TIMEOUTS_PER_ROUND * slowest + settings.poll_interval_s


class Rounds:
    """One source's round: ask for what is new when it is time, then pull what is due. It rests while it is away."""

    def __init__(self, puller: Puller, timer: Callable[[], float] = time.monotonic) -> None:
        self._puller = puller
        self._timer = timer
        self._poll_at = self._pull_at = timer()

    def __call__(self) -> bool:
        """True: there is more to pull. A question that fails keeps nothing from being sent that was found before."""
        if self._timer() >= self._poll_at:
            self._poll_at = self._timer() + self._puller.source.poll_s
            self._poll()
        return self._timer() >= self._pull_at and self._pull()

    def _poll(self) -> None:
        name = self._puller.source.name
        try:
            _log.debug("source_asked", source=name, count=self._puller.poll())
        except (Transient, Permanent) as error:
            _log.warning("source_not_asked", source=name, reason=str(error))

    def _pull(self) -> bool:
        source = self._puller.source
        try:
            return self._puller.pull_due()
        except (Transient, Permanent) as error:
            self._pull_at = self._timer() + source.poll_s
            _log.warning("nothing_pulled", source=source.name, reason=str(error))
            return False
