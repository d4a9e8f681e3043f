"""The senders of a test: each sends object after object, every one until it is acknowledged, and remembers that."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Self

from films import dx_bytes
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from waiting import wait_until
from wire import Refused, Wire

SUCCESS = 0x0000
_PAUSE_S = 0.02
_LONG_S = 120.0
_SOP_CLASS_UID = b"\x08\0\x16\0UI"  # the first element of a data set
_FIRST = 1_000_000  # so that all UIDs are of one length
_INSTANCE, _STUDY = "1.2.9999999.9999999.9999999", "1.2.9999999.9999999.9999998"  # in the place of others


@dataclass(frozen=True)
class Acknowledged:
    """An object that was answered 0x0000, and what `mark` said right after the answer came."""

    sop_instance_uid: str
    size_bytes: int
    sha256: str
    mark: int


@dataclass
class Senders:
    """So many senders at once, while the block lasts; `pause` waits until none is in the middle of anything."""

    port: int
    count: int = 3
    series: int = 0  # part of every UID, see `root`
    sizes: tuple[int, ...] = (1_000, 20_000, 90_000, 400_000)  # of the pixels, bytes
    mark: Callable[[], int] = lambda: 0
    acknowledged: list[Acknowledged] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of all answers

    def __post_init__(self) -> None:
        self._stop, self._go = threading.Event(), threading.Event()
        self._is_parked = [False] * self.count
        self._threads = [threading.Thread(target=self._send_all, args=(each,)) for each in range(self.count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._go.set()
        for thread in self._threads:
            thread.join()

    @property
    def root(self) -> str:
        """What all UIDs of a series begin with."""
        return f"1.2.{_FIRST + self.series}"

    def go(self) -> None:
        self._go.set()

    def receive(self, count: int) -> None:
        """Go, and wait until so many more are acknowledged."""
        enough = len(self.acknowledged) + count
        self.go()
        wait_until(lambda: len(self.acknowledged) >= enough, "objects are received", timeout_s=_LONG_S)

    def be_refused(self, status: int, count: int) -> None:
        """Wait until there are so many more answers with this status."""
        enough = self.statuses.count(status) + count
        wait_until(lambda: self.statuses.count(status) >= enough, f"{status:04X} is answered", timeout_s=_LONG_S)

    def pause(self) -> None:
        self._go.clear()
        wait_until(lambda: all(self._is_parked), "nothing is under way")

    def _send_all(self, sender: int) -> None:
        number = 0
        while not self._stop.is_set():
            if not self._go.is_set():
                self._is_parked[sender] = True
                self._go.wait()
                self._is_parked[sender] = False
            with suppress(OSError, Refused), Wire(self.port) as wire:
                wire.associate((DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian))
                while self._go.is_set() and not self._stop.is_set():
                    number += self._send(wire, sender, number)
            self._stop.wait(_PAUSE_S)

    def _send(self, wire: Wire, sender: int, number: int) -> bool:
        """Whether it was acknowledged."""
        uid = f"{self.root}.{_FIRST + sender}.{_FIRST + number}"
        data_set = film(uid, self.sizes[number % len(self.sizes)])
        status = wire.store(DigitalXRayImageStorageForPresentation, uid, data_set)
        self.statuses.append(status)
        if status == SUCCESS:
            kept = Acknowledged(uid, len(data_set), sha256(data_set).hexdigest(), self.mark())
            self.acknowledged.append(kept)
        return status == SUCCESS


def film(sop_instance_uid: str, size_bytes: int) -> bytes:
    """A data set with noise as pixels, the same for the same UID; ten of a sender are a study."""
    noise = (sha256(sop_instance_uid.encode()).digest() * (size_bytes // 32 + 1))[:size_bytes]
    study = sop_instance_uid[:-1] + "9"
    header = _header(size_bytes).replace(_INSTANCE.encode(), sop_instance_uid.encode())
    return header.replace(_STUDY.encode(), study.encode()) + noise


@cache
def _header(size_bytes: int) -> bytes:
    part10 = dx_bytes(SOPInstanceUID=_INSTANCE, StudyInstanceUID=_STUDY, PixelData=bytes(size_bytes))
    return part10[part10.index(_SOP_CLASS_UID) : -size_bytes]
