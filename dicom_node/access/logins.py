"""Who is logged in: a secret in the browser's cookie, its hash and its times in the database."""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import cast

from sqlmodel import Session, col, delete, or_, select, update

from dicom_node.access.users import checked_name
from dicom_node.clock import CLOCKS_DIFFER
from dicom_node.errors import Permanent
from dicom_node.models import Login, User

LONGEST = timedelta(hours=12)  # whatever the person does: a shift
_NOTE_EVERY = timedelta(seconds=30)  # a row is not written for every click


def find_person(session: Session, name: str) -> User | None:
    """Who may log in by this name and a password: not who comes in by the identity provider."""
    try:
        user = session.exec(select(User).where(User.name == checked_name(name))).first()
    except Permanent:
        return None
    return user if user is not None and user.disabled_at is None and user.subject is None else None


def log_in(session: Session, user: User, now: datetime, idle: timedelta) -> str:
    """A new login, whatever the browser had before. Returns what its cookie holds. Logins that have ended go.

    Raises Permanent if the person was disabled, or has another password, since it was read.
    """
    same = (User.id == user.id, User.password_hash == user.password_hash, col(User.disabled_at).is_(None))
    if session.exec(select(User.id).where(*same).with_for_update()).first() is None:
        raise Permanent("you were disabled, or got another password, at this moment")
    session.exec(delete(Login).where(or_(col(Login.created_at) < now - LONGEST, col(Login.seen_at) < now - idle)))
    token = secrets.token_urlsafe(32)
    session.add(Login(token_sha256=_digest(token), user_id=cast(int, user.id), seen_at=now, created_at=now))
    return token


def find_login(session: Session, token: str, now: datetime, idle: timedelta) -> tuple[Login, User] | None:
    """Who is logged in by this cookie. Only reads: strangers' cookies, too, are looked for.

    Not by a login of a time that is still to come: a clock was ahead, and it would last until then.
    """
    login = session.exec(select(Login).where(Login.token_sha256 == _digest(token))).first()
    if login is None or now - login.created_at >= LONGEST or now - login.seen_at >= idle:
        return None
    if max(login.created_at, login.seen_at) > now + CLOCKS_DIFFER:
        return None
    user = session.get_one(User, login.user_id)
    return (login, user) if user.disabled_at is None else None


def is_note_due(login: Login, now: datetime) -> bool:
    """Whether it is time to note that the person does something."""
    return now - login.seen_at >= _NOTE_EVERY


def note_active(session: Session, login: Login, now: datetime) -> None:
    """The person did something, it was not the page by itself. A login that has gone since stays away."""
    session.exec(update(Login).where(col(Login.id) == login.id).values(seen_at=now))


def log_out(session: Session, token: str) -> None:
    session.exec(delete(Login).where(col(Login.token_sha256) == _digest(token)))


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
