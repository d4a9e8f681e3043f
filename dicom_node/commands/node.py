"""Commands that run the node, prepare it, or look it over."""

import pkgutil
from typing import Annotated

import typer

from dicom_node.commands.terminal import AsJson, say
from dicom_node.config import Settings
from dicom_node.database import migrate as migrate_database
from dicom_node.database import opened
from dicom_node.roles import play, stop_on_signals
from dicom_node.supervisor import up as supervise


def up() -> None:
    """Run the whole node on this machine: receive, sweep, draft and deliver, supervised."""
    raise typer.Exit(supervise(Settings()))


def play_role(role: str) -> None:
    """Run one role alone."""
    raise typer.Exit(play(role, Settings(), stop_on_signals()))


def migrate() -> None:
    """Bring the database schema to the newest revision."""
    with opened(Settings()) as engine:
        migrate_database(engine)
    say("The schema is current.")


def doctor(as_json: AsJson = False) -> None:
    """Check folders, ports, database, broker, certificates, model, PACS and RIS; each fault comes with its fix."""
    from dicom_node.doctor.command import run

    raise typer.Exit(run(Settings(), as_json=as_json))


def demo(keep: Annotated[bool, typer.Option(help="Keep running until Ctrl-C.")] = False) -> None:
    """Send a synthetic chest film through a whole node with a simulated PACS and RIS, and show what comes back."""
    raise typer.Exit(pkgutil.resolve_name("integration.simulators.demo:run")(keep=keep))
