"""`dicom-node users`: who may use the page."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.table import Table
from sqlmodel import Session

from dicom_node.access.users import (
    add_user,
    change_password,
    disable_user,
    find_user,
    has_password_elsewhere,
    list_users,
)
from dicom_node.audit import audited, who_runs_this
from dicom_node.clock import utc_now
from dicom_node.commands.terminal import AsJson, opened_rows, print_json, say, show
from dicom_node.config import Settings
from dicom_node.models import Access, User

app = typer.Typer(no_args_is_help=True, help="Who may use the page.")
Name = Annotated[str, typer.Argument(help="The person's name; capitals make no difference.")]


@app.command()
def add(
    name: Name,
    role: Annotated[Access, typer.Option(help="viewer looks, operator also retries and withdraws, admin all.")],
) -> None:
    """Let somebody in, or in again. The password is asked for; without a terminal it is a line of standard input."""
    with _session(Settings()) as session:
        password = "" if has_password_elsewhere(session, name) else None
    if password is None:
        password = _ask_password()
    with _changing(name) as session:
        user = add_user(session, name, role, password, utc_now())
    say(f"{user.name} may come in as {user.access}.")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Show who may come in."""
    with _session(Settings()) as session:
        found = [_user(user) for user in list_users(session)]
    if as_json:
        print_json(found)
        return
    table = Table("user", "role", "since (UTC)", "disabled (UTC)")
    for each in found:
        table.add_row(*each.values())
    show(table)


@app.command()
def disable(name: Name) -> None:
    """Shut somebody out, at once; `users add` lets the person in again."""
    with _changing(name) as session:
        disable_user(session, find_user(session, name), utc_now())
    say("Shut out, and logged out everywhere.")


@app.command()
def password(name: Name) -> None:
    """Give somebody a new password; whoever is logged in by the old one is logged out."""
    chosen = _ask_password()
    with _changing(name) as session:
        change_password(session, find_user(session, name), chosen)
    say("The password is changed.")


def _user(user: User) -> dict[str, str]:
    disabled = f"{user.disabled_at:%Y-%m-%d %H:%M}" if user.disabled_at else ""
    return {
        "user": user.name,
        "role": user.access,
        "since": f"{user.created_at:%Y-%m-%d %H:%M}",
        "disabled": disabled,
    }


def _ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


@contextmanager
def _session(settings: Settings) -> Iterator[Session]:
    """One transaction."""
    with opened_rows(settings) as sessions, sessions.begin() as session:
        yield session


@contextmanager
def _changing(name: str) -> Iterator[Session]:
    """One transaction that changes who may come in. The audit trail has it before it counts."""
    settings = Settings()
    with _session(settings) as session:
        yield session
        with audited(settings, utc_now) as trail:
            trail.changed_user(who_runs_this(), name)
