"""`dicom-node watch`: the newest studies and the roles, looked at again and again."""

import threading
from collections.abc import Iterable

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import DBAPIError, TimeoutError
from sqlmodel import Session

from dicom_node.clock import utc_now
from dicom_node.commands.look import status_table
from dicom_node.database import Sessions
from dicom_node.health import absent, conditions, expected
from dicom_node.timeline import list_statuses

_EVERY_S = 2.0
_ROWS_BESIDE_THE_TABLE = 12  # its frame, the roles


def watch_rows(sessions: Sessions, roles: Iterable[str], stop: threading.Event, console: Console | None = None) -> None:
    """Until told to stop, or Ctrl-C. A database that is away is said, and waited for."""
    console, roles = console or Console(), tuple(roles)
    try:
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while not stop.is_set():
                live.update(_look(sessions, roles, console), refresh=True)
                stop.wait(_EVERY_S)
    except KeyboardInterrupt:
        return


def _look(sessions: Sessions, roles: tuple[str, ...], console: Console) -> Group | Text:
    try:
        with sessions() as session:
            return _view(session, roles, max(1, console.height - _ROWS_BESIDE_THE_TABLE))
    except (DBAPIError, TimeoutError):
        return Text("The database is away.", "bold red")


def _view(session: Session, roles: tuple[str, ...], most: int) -> Group:
    now = utc_now()
    found = expected(conditions(session, now), roles)
    words = [Text(each.words, "" if each.is_well else "bold red") for each in found]
    lacking = [Text(sentence, "bold red") for sentence in absent(roles, found)]
    table = status_table(list_statuses(session, limit=most)[:most])
    return Group(table, *words, *lacking, Text(f"{now:%H:%M:%S} UTC. Ctrl-C ends.", "dim"))
