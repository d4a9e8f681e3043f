"""Who may use the page, on both databases and from the command line."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from doubles import NOON
from page_browser import PASSWORD
from rows import all_of, only
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from dicom_node.access import logins, users
from dicom_node.access.passwords import hash_password, is_password
from dicom_node.audit import who_runs_this
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
    assert not is_password(PASSWORD, "what is no hash")


@pytest.mark.parametrize("name", ["", " ", "a b", "a" * 65, "<script>", "an\nna", "-anna"])
def test_what_is_no_name_is_refused(name: str, sqlite_sessions: Sessions) -> None:
    with pytest.raises(Permanent, match="expected a user name"):
        add(sqlite_sessions, name)


def test_names_of_a_windows_domain_are_names(sqlite_sessions: Sessions) -> None:
    add(sqlite_sessions, "Siobhán.O'Brien@hospital.example")
    add(sqlite_sessions, "guest_mail.example#EXT#@hospital")
    assert [user.name for user in all_of(sqlite_sessions, User)] == [
        "siobhán.o'brien@hospital.example",
        "guest_mail.example#ext#@hospital",
    ]


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


@pytest.mark.parametrize("name", ["ＡＮＮＡ", "Ａnna"])
def test_a_name_that_looks_like_anothers_is_taken(name: str, sqlite_sessions: Sessions) -> None:
    add(sqlite_sessions)
    with pytest.raises(Permanent, match="user anna is there already"):
        add(sqlite_sessions, name)


def test_who_comes_in_by_the_provider_is_let_in_again_without_a_password(sessions: Sessions) -> None:
    shut_out_by_provider(sessions)
    add(sessions, "berta", Access.ADMIN)
    (user,) = all_of(sessions, User)
    assert (user.access, user.password_hash, user.disabled_at) == (Access.VIEWER, "", None)


def test_who_comes_in_by_the_provider_never_does_by_a_password(sessions: Sessions) -> None:
    shut_out_by_provider(sessions)
    with sessions.begin() as session:
        user = users.find_user(session, "berta")
        user.disabled_at, user.password_hash = None, hash_password(PASSWORD)  # as a release before this one gave it
    with sessions.begin() as session:
        assert logins.find_person(session, "berta") is None
        with pytest.raises(Permanent, match="the password of user berta is kept by the identity provider"):
            users.change_password(session, users.find_user(session, "berta"), PASSWORD)


def shut_out_by_provider(sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = users.admit(session, "https://provider 1", "berta", Access.VIEWER, NOON)
        user.disabled_at = NOON


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


def test_a_login_of_a_clock_that_was_ahead_has_ended(sessions: Sessions) -> None:
    add(sessions)
    for ahead, is_in in ((timedelta(minutes=1), True), (timedelta(hours=1), False)):
        with sessions.begin() as session:
            token = logins.log_in(session, users.find_user(session, "anna"), NOON + ahead, logins.LONGEST)
            assert (logins.find_login(session, token, NOON, logins.LONGEST) is not None) is is_in


def test_who_was_shut_out_while_the_password_was_checked_does_not_come_in(sessions: Sessions) -> None:
    add(sessions)
    add(sessions, "berta")
    for shut_out in (
        lambda session, user: users.change_password(session, user, PASSWORD[::-1]),
        lambda session, user: users.disable_user(session, user, NOON),
    ):
        with sessions() as session:
            as_it_was = users.find_user(session, "anna")
        with sessions.begin() as session:
            shut_out(session, users.find_user(session, "anna"))
        with pytest.raises(Permanent, match="at this moment"), sessions.begin() as session:
            logins.log_in(session, as_it_was, NOON, logins.LONGEST)
    assert all_of(sessions, Login) == []


def test_logins_that_have_ended_are_removed_by_the_next(sessions: Sessions) -> None:
    add(sessions)
    with sessions.begin() as session:
        anna = users.find_user(session, "anna")
        logins.log_in(session, anna, NOON - 2 * logins.LONGEST, logins.LONGEST)
        token = logins.log_in(session, anna, NOON, logins.LONGEST)
    assert len(all_of(sessions, Login)) == 1
    with sessions() as session:
        assert logins.find_login(session, token, NOON, logins.LONGEST)


def test_what_a_person_does_is_noted_twice_a_minute_at_most(sessions: Sessions) -> None:
    add(sessions)
    with sessions.begin() as session:
        token = logins.log_in(session, users.find_user(session, "anna"), NOON, logins.LONGEST)
    (login,), later = all_of(sessions, Login), NOON + timedelta(seconds=30)
    assert [logins.is_note_due(login, at) for at in (later - timedelta(seconds=1), later)] == [False, True]
    with sessions.begin() as session:
        logins.note_active(session, login, later)
    assert [each.seen_at for each in all_of(sessions, Login)] == [later]
    with sessions.begin() as session:
        logins.log_out(session, token)
        logins.note_active(session, login, later)
    assert all_of(sessions, Login) == []


@pytest.fixture
def run(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`dicom-node users …` on this database, with one line of standard input."""
    monkeypatch.setenv("DICOM_NODE_DATA_DIR", str(settings.data_dir))
    if engine.dialect.name == "postgresql":
        monkeypatch.setenv("DICOM_NODE_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    return lambda *words, line="": CliRunner().invoke(app, ["users", *words], input=line)


def test_the_command_line_adds_lists_changes_and_disables(
    run: Callable[..., Result], sessions: Sessions, settings: Settings
) -> None:
    assert run("add", "Anna", "--role", "admin", line=f"{PASSWORD}\n").exit_code == 0
    assert run("add", "ben", "--role", "viewer", line=f"{PASSWORD}\r\n").exit_code == 0
    assert run("password", "ben", line="another good one\n").exit_code == 0
    assert run("disable", "ben").exit_code == 0
    listed = run("list").stdout
    trail = "".join(each.read_text() for each in settings.audit_dir.iterdir())
    assert trail.count('"110137"') == trail.count(f'UserID="{who_runs_this().name}"') == 4
    assert trail.count('ParticipantObjectID="ben"') == 3
    assert "anna" in listed
    assert "viewer" in listed
    anna, ben = all_of(sessions, User)
    assert (anna.disabled_at, ben.disabled_at is not None) == (None, True)
    assert is_password(PASSWORD, anna.password_hash)
    assert is_password("another good one", ben.password_hash)


def test_the_command_line_lets_somebody_in_again(run: Callable[..., Result], sessions: Sessions) -> None:
    for password in (PASSWORD, "another good one"):
        assert run("add", "ben", "--role", "viewer", line=f"{password}\n").exit_code == 0
        ben = only(sessions, User)
        assert (ben.disabled_at, is_password(password, ben.password_hash)) == (None, True)
        assert run("disable", "ben").exit_code == 0


def test_the_command_line_asks_no_password_of_who_comes_in_by_the_provider(
    run: Callable[..., Result], sessions: Sessions
) -> None:
    shut_out_by_provider(sessions)
    assert run("add", "Berta", "--role", "admin").stdout == "berta may come in as viewer.\n"


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
