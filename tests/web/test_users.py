"""Who may use the page, on both databases and from the command line."""

from collections.abc import Callable

import pytest
from doubles import NOON
from page_browser import PASSWORD
from rows import all_of
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from dicom_node.access import logins, users
from dicom_node.access.passwords import is_password
from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Access, Login, User


def add(sessions: Sessions, name: str = "anna", access: Access = Access.ADMIN) -> None:
    with sessions.begin() as session:
        users.add_user(session, name, access, PASSWORD, NOON)


def test_a_password_is_kept_as_argon2id_and_known_again(sessions: Sessions) -> None:
    add(sessions)
    (user,) = all_of(sessions, User)
    assert user.password_hash.startswith("$argon2id$")
    assert [is_password(each, user.password_hash) for each in (PASSWORD, PASSWORD.upper(), "")] == [True, False, False]
    assert not is_password("the password of nobody", None)


@pytest.mark.parametrize("name", ["", " ", "a b", "a" * 65, "<script>", "an\nna", "-anna"])
def test_what_is_no_name_is_refused(name: str, sqlite_sessions: Sessions) -> None:
    with pytest.raises(Permanent, match="expected a user name"):
        add(sqlite_sessions, name)


def test_a_name_is_given_once_whatever_its_capitals(sessions: Sessions) -> None:
    add(sessions)
    with pytest.raises(Permanent, match="user anna is there already"):
        add(sessions, "ANNA")


def test_who_was_disabled_may_be_let_in_again(sessions: Sessions) -> None:
    add(sessions)
    add(sessions, "ben")
    with sessions.begin() as session:
        users.disable_user(session, users.find_user(session, "ben"), NOON)
        assert logins.find_person(session, "ben") is None
    add(sessions, "ben", Access.VIEWER)
    with sessions() as session:
        assert logins.find_person(session, "Ben").access == Access.VIEWER  # type: ignore[union-attr]


def test_the_only_admin_cannot_be_disabled(sessions: Sessions) -> None:
    add(sessions)
    add(sessions, "ben", Access.OPERATOR)
    with sessions.begin() as session, pytest.raises(Permanent, match="user anna is the only admin"):
        users.disable_user(session, users.find_user(session, "anna"), NOON)


def test_a_new_password_logs_out_everywhere(sessions: Sessions) -> None:
    add(sessions)
    with sessions.begin() as session:
        anna = users.find_user(session, "anna")
        logins.log_in(session, anna, NOON, logins.LONGEST)
        logins.log_in(session, anna, NOON, logins.LONGEST)
    with sessions.begin() as session:
        users.change_password(session, users.find_user(session, "anna"), "another good one")
    assert all_of(sessions, Login) == []


def test_logins_that_have_ended_are_removed_by_the_next(sessions: Sessions) -> None:
    add(sessions)
    with sessions.begin() as session:
        anna = users.find_user(session, "anna")
        logins.log_in(session, anna, NOON - 2 * logins.LONGEST, logins.LONGEST)
        token = logins.log_in(session, anna, NOON, logins.LONGEST)
    assert len(all_of(sessions, Login)) == 1
    with sessions() as session:
        assert logins.find_login(session, token, NOON, logins.LONGEST, is_active=False)


@pytest.fixture
def run(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`dicom-node users …` on this database, with one line of standard input."""
    monkeypatch.setenv("DICOM_NODE_DATA_DIR", str(settings.data_dir))
    if engine.dialect.name == "postgresql":
        monkeypatch.setenv("DICOM_NODE_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    return lambda *words, line="": CliRunner().invoke(app, ["users", *words], input=line)


def test_the_command_line_adds_lists_changes_and_disables(run: Callable[..., Result], sessions: Sessions) -> None:
    assert run("add", "Anna", "--role", "admin", line=f"{PASSWORD}\n").exit_code == 0
    assert run("add", "ben", "--role", "viewer", line=f"{PASSWORD}\r\n").exit_code == 0
    assert run("password", "ben", line="another good one\n").exit_code == 0
    assert run("disable", "ben").exit_code == 0
    listed = run("list").stdout
    assert "anna" in listed
    assert "viewer" in listed
    anna, ben = all_of(sessions, User)
    assert (anna.disabled_at, ben.disabled_at is not None) == (None, True)
    assert is_password(PASSWORD, anna.password_hash)
    assert is_password("another good one", ben.password_hash)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("add", "anna", "--role", "admin"), "a password of 5 characters, expected 12 to 256"),
        (("disable", "nobody"), "no user has that name"),
    ],
)
def test_the_command_line_says_why_not(words: tuple[str, ...], why: str, run: Callable[..., Result]) -> None:
    failed = run(*words, line="short\n")
    assert failed.exit_code == 1
    assert why in str(failed.exception)
