"""The people who may use the page: made, found, and shut out. No password is there that nobody chose."""

import re
from datetime import datetime
from unicodedata import normalize

from sqlmodel import Session, col, delete, func, select

from dicom_node.access.passwords import hash_password
from dicom_node.errors import Permanent
from dicom_node.models import Access, Login, User

_NAME = re.compile(r"[\w][\w.@'+!#^~-]{0,63}")  # with all that the names of a Windows domain may have


def checked_name(name: str) -> str:
    """As the table has it: letters of another width, and ligatures, make no other name. Raises Permanent for none."""
    found = normalize("NFKC", name).strip().casefold()
    if not _NAME.fullmatch(found):
        raise Permanent("expected a user name of 1–64 letters, digits and . _ @ ' + ! # ^ ~ -")
    return found


def add_user(session: Session, name: str, access: Access, password: str, now: datetime) -> User:
    """A new person, or one who was disabled and may come in again. Raises Permanent if the name is taken.

    Who comes in by the identity provider keeps the role, and gets no password here: it would outlive the provider's.
    """
    user = _by_name(session, name)
    if user is not None and user.disabled_at is None:
        raise Permanent(f"user {user.name} is there already")
    user = user or User(name=checked_name(name), access=access, password_hash="", created_at=now)
    if user.subject is None:
        user.access, user.password_hash = access, hash_password(password)
    user.disabled_at = None
    session.add(user)
    session.flush()
    return user


def admit(session: Session, subject: str, name: str, access: Access, now: datetime) -> User:
    """Who comes in by the identity provider, with what it says of them now; new to this node, or known by the subject.

    Raises Permanent for a name that is none or somebody else's here, and for who was disabled here.
    """
    user = session.exec(select(User).where(User.subject == subject)).first()
    if user is not None and user.disabled_at is not None:
        raise Permanent("you are disabled on this node")
    named = _by_name(session, name)
    if named is not None and named is not user:
        raise Permanent("the name that the identity provider tells for you is another user's of this node")
    user = user or User(name="", access=access, password_hash="", subject=subject, created_at=now)
    user.name, user.access = checked_name(name), access
    session.add(user)
    session.flush()
    return user


def list_users(session: Session) -> list[User]:
    """By name, the disabled ones too."""
    return list(session.exec(select(User).order_by(User.name)))


def find_user(session: Session, name: str) -> User:
    """Raises Permanent if there is none."""
    user = _by_name(session, name)
    if user is None:
        raise Permanent("no user has that name: `dicom-node users list` shows all")
    return user


def has_password_elsewhere(session: Session, name: str) -> bool:
    """Whether the person is known here by the identity provider. Raises Permanent for what is no name."""
    user = _by_name(session, name)
    return user is not None and user.subject is not None


def is_empty(session: Session) -> bool:
    """Whether nobody may come in yet."""
    return session.exec(select(func.count(col(User.id)))).one() == 0


def change_password(session: Session, user: User, password: str) -> None:
    """Whoever is logged in by the old one is logged out.

    Raises Permanent for a password that will not do, and for a person whose password is not here.
    """
    if user.subject is not None:
        raise Permanent(f"the password of user {user.name} is kept by the identity provider")
    user.password_hash = hash_password(password)
    session.add(user)
    _log_out_everywhere(session, user)


def disable_user(session: Session, user: User, now: datetime) -> None:
    """Shut somebody out, at once. Raises Permanent if nobody would be left to let people in."""
    admins = select(User).where(User.access == Access.ADMIN, col(User.disabled_at).is_(None)).with_for_update()
    if [admin.id for admin in session.exec(admins)] == [user.id]:
        raise Permanent(f"user {user.name} is the only admin: add another before")
    user.disabled_at = now
    session.add(user)
    _log_out_everywhere(session, user)


def _by_name(session: Session, name: str) -> User | None:
    return session.exec(select(User).where(User.name == checked_name(name))).first()


def _log_out_everywhere(session: Session, user: User) -> None:
    session.exec(delete(Login).where(col(Login.user_id) == user.id))
