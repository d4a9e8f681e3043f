"""Traces on their way to their collector: the timeline is the queue, a row says how far it has come."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from dicom_node import logs
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import PeerUnreachable, Permanent
from dicom_node.models import Shipped
from dicom_node.tracing.steps import Step, newest_position, steps_after

STREAM = "traces"
_TRY_AGAIN_AFTER_S = 30.0
_SETTLE = timedelta(seconds=5)  # a transaction that moves a state is committed by then

_log = logs.get("traces")


class Exporter(Protocol):
    """Where steps are sent."""

    def send(self, steps: Sequence[Step]) -> None:
        """Raises PeerUnreachable."""


class TraceShipping:
    """For one thread of one role. It begins with what happens after it was first asked for."""

    def __init__(
        self, exporter: Exporter, sessions: Sessions, clock: Clock, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._exporter = exporter
        self._sessions = sessions
        self._clock = clock
        self._timer = timer
        self._again_at = 0.0

    def ship(self) -> bool:
        """Send the steps that have ended, up to a limit. False: nothing is left, or the collector is waited for."""
        if self._timer() < self._again_at:
            return False
        before = self._position()
        with self._sessions() as session:
            steps, after = steps_after(session, before, settled_before=self._clock() - _SETTLE)
        try:
            if steps:
                self._exporter.send(steps)
        except PeerUnreachable as error:
            self._again_at = self._timer() + _TRY_AGAIN_AFTER_S
            _log.warning("traces_not_sent", reason=str(error), due_in_s=_TRY_AGAIN_AFTER_S)
            return False
        if after != before:
            self._move(after)
        return after != before

    def _position(self) -> int:
        with self._sessions() as session:
            row = session.get(Shipped, STREAM)
        return self._begin() if row is None else row.position

    def _begin(self) -> int:
        with self._sessions.begin() as session:
            row = session.get(Shipped, STREAM)  # of another relay, perhaps, meanwhile
            if row is None:
                row = Shipped(stream=STREAM, position=newest_position(session))
                session.add(row)
            return row.position

    def _move(self, position: int) -> None:
        with self._sessions.begin() as session:
            session.get_one(Shipped, STREAM).position = position


def trace_shipping(settings: Settings, endpoint: str, sessions: Sessions, clock: Clock) -> TraceShipping:
    """To an OpenTelemetry collector. Raises Permanent where the extra is not installed."""
    try:
        from dicom_node.tracing import otlp  # nobody needs it otherwise
    except ImportError as error:
        raise Permanent("traces_endpoint needs OpenTelemetry: pip install 'dicom-node[otel]'") from error
    return TraceShipping(otlp.Exporter(endpoint, settings.ae_title), sessions, clock)
