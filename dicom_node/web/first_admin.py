"""The first person: whoever can read the log of this node may make the first admin, once."""

import secrets
import threading
from datetime import datetime
from hmac import compare_digest

from dicom_node import logs
from dicom_node.access.users import add_user, is_empty
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Access

_log = logs.get("access")


class FirstAdmin:
    """A code that is good for one admin, while there is no user at all."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._code = secrets.token_urlsafe(16)
        self._lock = threading.Lock()

    def is_wanted(self) -> bool:
        with self._sessions() as session:
            return is_empty(session)

    def announce(self) -> None:
        """Tell the code in the log, if anybody needs it."""
        if self.is_wanted():
            _log.warning("no_user_yet", code=self._code, reason="open /first-admin on the page, with this code")

    def make(self, code: str, name: str, password: str, now: datetime) -> None:
        """Raises Permanent for a wrong code, when somebody was first, or where name or password will not do."""
        if not compare_digest(code.strip().encode(), self._code.encode()):
            raise Permanent("this is not the code in the log of the web role")
        with self._lock, self._sessions.begin() as session:
            if not is_empty(session):
                raise Permanent("there is a user already: log in")
            add_user(session, name, Access.ADMIN, password, now)
