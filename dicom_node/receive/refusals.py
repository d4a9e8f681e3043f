"""Who was turned away: a line in the log and a message in the audit trail, but no flood of either."""

import threading
from dataclasses import dataclass

from dicom_node import logs
from dicom_node.audit import AuditTrail
from dicom_node.receive.rate_limit import RateLimit

_log = logs.get("refusals")


@dataclass(frozen=True)
class Refusal:
    """Who was turned away, and why."""

    event: str  # in the log
    address: str
    why: str  # for those who run the node; who is refused gets the code alone
    calling_ae: str = ""  # empty: did not come so far as to say it
    code: str = ""  # result, source and reason of an A-ASSOCIATE-RJ


class Refusals:
    """Tells refusals as they come; of a flood it tells the first ones, then how many there were."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail
        self._of_one_address = RateLimit(1.0, burst=60)  # at 1 kB each: 90 MB a day
        self._of_all = RateLimit(20.0, burst=1000)
        self._lock = threading.Lock()
        self._untold = 0

    def tell(self, refusal: Refusal) -> None:
        is_told = self._of_one_address.allows(refusal.address) and self._of_all.allows("")
        with self._lock:
            untold, self._untold = self._untold, 0 if is_told else self._untold + 1
        if not is_told:
            return
        said = {"calling_ae": refusal.calling_ae, "code": refusal.code, "count": untold}
        said = {key: value for key, value in said.items() if value}
        _log.warning(refusal.event, address=refusal.address, reason=refusal.why, **said)
        self._trail.refused(refusal.address, refusal.calling_ae, _sentence(refusal, untold))


def _sentence(refusal: Refusal, untold: int) -> str:
    words = f"{refusal.event.replace('_', ' ')} {refusal.code}".strip() + f": {refusal.why}"
    return f"{words}; {untold} more refusals before it are not in this log" if untold else words
