"""Asking a PACS, RIS or source whether it answers, as `dicom-node doctor` does, because a person wants to know."""

import pkgutil
import threading
import time
from dataclasses import dataclass
from datetime import datetime

from dicom_node import logs
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Check, Diagnosis, Verdict
from dicom_node.doctor.peers import check_pacs, check_sources
from dicom_node.receive.rate_limit import RateLimit
from dicom_node.web.destinations import PeerName, peers_of
from dicom_node.web.refused import PageRefused

_EVERY_S = 5.0  # one peer, after a burst
_BURST = 4

_log = logs.get("peer_tests")


@dataclass(frozen=True)
class Tested:
    """What a peer answered."""

    at: datetime
    by: str  # the person's name
    seconds: float
    found: Diagnosis

    @property
    def is_well(self) -> bool:
        return self.found.verdict == Verdict.OK


class PeerTests:
    """The tests since this process started; each peer is asked by one person at a time, and not without end."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._limit = RateLimit(1 / _EVERY_S, burst=_BURST)
        self._lock = threading.Lock()
        self._running: set[PeerName] = set()
        self._last: dict[PeerName, Tested] = {}
        self.count = 0

    def last(self, peer: PeerName) -> Tested | None:
        return self._last.get(peer)

    def run(self, peer: PeerName, by: str) -> Tested:
        """Ask it now, which takes as long as its time-outs. Raises PageRefused for one that is not there or is busy."""
        if peer not in peers_of(self._settings):
            raise PageRefused(404, "There is no such peer in the settings.")
        self._begin(peer)
        try:
            started = time.monotonic()
            found = _ask(self._settings, peer)
            tested = Tested(self._clock(), by, time.monotonic() - started, found)
        finally:
            self._running.discard(peer)
        with self._lock:
            self._last[peer] = tested
            self.count += 1
        seconds = round(tested.seconds, 3)
        _log.info("peer_tested", destination=peer.name, kind=peer.kind, state=found.verdict, seconds=seconds)
        return tested

    def _begin(self, peer: PeerName) -> None:
        with self._lock:
            if peer in self._running or not self._limit.allows(f"{peer.kind} {peer.name}"):
                raise PageRefused(429, "It is being tested, or was a moment ago: wait a few seconds.")
            self._running.add(peer)


def _ask(settings: Settings, peer: PeerName) -> Diagnosis:
    """By the doctor's check, of settings that name this peer alone."""
    field = "sources" if peer.kind == "source" else peer.kind
    alone = tuple(each for each in getattr(settings, field) if each.name == peer.name)
    return next(iter(_check(peer.kind)(settings.model_copy(update={field: alone}))))


def _check(kind: str) -> Check:
    if kind == "ris":
        check: Check = pkgutil.resolve_name("integration.doctor:check_ris")  # the core knows the arms by name only
        return check
    return check_pacs if kind == "pacs" else check_sources
