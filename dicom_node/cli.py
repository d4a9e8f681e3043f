"""The command line.

Exit statuses: 0 well; 1 a fault, told in a sentence; 2 the command was not understood.
"""

from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from dicom_node import logs, setting_faults
from dicom_node.access.command import app as users_app
from dicom_node.commands import act, files, look, model, node
from dicom_node.commands.terminal import say
from dicom_node.config import Settings
from dicom_node.database import in_words
from dicom_node.errors import NodeError
from dicom_node.product import software_version
from dicom_node.roles import ROLES
from dicom_node.rules.command import app as rules_app

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(model.app, name="model")
app.add_typer(rules_app, name="rules")
app.add_typer(users_app, name="users")


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        say(software_version())
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say the release.")
    ] = False,
) -> None:
    """A DICOM node that drafts the findings of chest radiographs."""


for _command in (
    node.up,
    node.migrate,
    look.status,
    look.watch,
    look.health,
    look.commitments,
    look.agreement,
    act.retry,
    act.resend,
    act.acknowledge,
    act.withdraw,
    files.pull,
    files.export,
    files.backup,
    files.restore,
    files.conformance,
    node.doctor,
    node.demo,
    model.benchmark,
    model.evaluate,
):
    app.command()(_command)
app.command("import")(files.import_objects)


def _add_role(role: str) -> None:
    app.command(role, help=f"Run the {role} role alone.")(lambda: node.play_role(role))


for _role in ROLES:
    _add_role(_role)


def main() -> None:
    """Run a command; what goes wrong on purpose is one sentence, not a traceback."""
    logs.configure("cli", "WARNING")
    try:
        app()
    except NodeError as error:
        _fail(str(error))
    except SettingsError as error:
        _fail(setting_faults.no_json(error))
    except DBAPIError as error:
        which = in_words(make_url(Settings().sqlalchemy_url))
        _fail(f"the database {which} cannot be used ({type(error.orig).__name__}): `dicom-node doctor` says more")
    except ValidationError as error:
        _fail(setting_faults.in_words(error))


def _fail(sentence: str) -> None:
    told = f"dicom-node: {sentence}"
    Console(stderr=True).print(told, style="red", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(1)
