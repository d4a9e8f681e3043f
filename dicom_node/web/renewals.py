"""Pages that renew themselves: the audit trail is not told of one every few seconds."""

from starlette.requests import Request

from dicom_node.receive.rate_limit import RateLimit
from dicom_node.web.door import Visitor

_AUDIT_EVERY_S = 1800  # of what one person goes on looking at, about


class Renewals:
    """Of one kind of page."""

    def __init__(self) -> None:
        self._limit = RateLimit(1 / _AUDIT_EVERY_S, burst=1)

    def is_to_audit(self, request: Request, visitor: Visitor, shown: str) -> bool:
        """A page that renews itself goes on showing what was audited; but whoever asks can say that it is one."""
        is_due = self._limit.allows(f"{visitor.person.name} {shown}")
        return is_due or "hx-request" not in request.headers
