"""How the roles are, by what they have written down of themselves: `dicom-node health`, and the metrics."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from socket import gethostname

from sqlmodel import Session, col, select

from dicom_node.clock import CLOCKS_DIFFER
from dicom_node.errors import Permanent
from dicom_node.heartbeat import SILENT_AFTER_S
from dicom_node.models import Heartbeat
from dicom_node.roles import ROLES


@dataclass(frozen=True)
class Condition:
    """Of a role on one host."""

    role: str
    host: str
    age_s: float  # since it was well, or since it began where it never was
    fault: str  # as it says itself; empty if nothing

    @property
    def is_well(self) -> bool:
        return not self.fault and self.age_s <= SILENT_AFTER_S

    @property
    def words(self) -> str:
        if self.is_well:
            return f"{self.role}: well."
        why = self.fault or "silent: it hangs, is dead, or cannot reach the database"
        return f"{self.role} on {self.host}: {why} (for {self.age_s:.0f} s)."


def conditions(session: Session, now: datetime) -> list[Condition]:
    """Of all roles that have not ended in good order."""
    return [
        # A clock that is a little ahead of ours makes nobody younger than now.
        Condition(row.role, row.host, max(0.0, (now - row.well_at).total_seconds()), row.fault or _misdated(row, now))
        for row in session.exec(select(Heartbeat).order_by(col(Heartbeat.role), col(Heartbeat.host)))
    ]


def expected(found: Iterable[Condition], roles: Collection[str]) -> list[Condition]:
    """Without who is silent and is not to run: it died, and the settings have changed since."""
    return [each for each in found if each.is_well or each.role in roles]


def conditions_here(session: Session, role: str, now: datetime) -> list[Condition]:
    """Of one role on this host. Raises Permanent if there is no such role."""
    if role not in ROLES:
        raise Permanent(f"there is no role {role}: expected one of {', '.join(ROLES)}")
    return [each for each in conditions(session, now) if (each.role, each.host) == (role, gethostname())]


def absent(roles: Iterable[str], found: Iterable[Condition]) -> list[str]:
    """A sentence for each role that should run and has written nothing."""
    present = {condition.role for condition in found}
    return [f"{role}: does not run, or has not said so yet." for role in roles if role not in present]


def _misdated(row: Heartbeat, now: datetime) -> str:
    """Why nobody knows how the role is, where the time of its row is still to come; else empty."""
    if row.well_at <= now + CLOCKS_DIFFER:
        return ""
    return f"it was well at {row.well_at:%Y-%m-%d %H:%M:%S} UTC, which is still to come: a clock is or was wrong"
