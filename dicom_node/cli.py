"""The command line."""

import json
import pkgutil
import signal
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select

from dicom_node import logs
from dicom_node.access.command import app as users_app
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, make_sessions, open_database, require_current_schema
from dicom_node.database import migrate as migrate_database
from dicom_node.errors import NodeError, Permanent
from dicom_node.health import absent, conditions, conditions_here
from dicom_node.models import Commitment, Study
from dicom_node.operator import retry as retry_study
from dicom_node.roles import ROLES, play, roles_of, stop_on_signals
from dicom_node.supervisor import up as supervise
from dicom_node.terms import require_acceptance
from dicom_node.timeline import list_statuses, study_status, timeline
from dicom_node.withdrawal import withdraw as withdraw_drafts

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
model_app = typer.Typer(no_args_is_help=True, help="Model files.")
app.add_typer(model_app, name="model")
app.add_typer(users_app, name="users")
_console = Console()


def main() -> None:
    """Run a command; what goes wrong on purpose is one sentence, not a traceback."""
    logs.configure("cli", "WARNING")
    try:
        app()
    except NodeError as error:
        _fail(str(error))
    except (SettingsError, TOMLDecodeError) as error:
        _fail(f"settings cannot be read: {error}")
    except DBAPIError as error:
        _fail(f"the database cannot be used ({type(error.orig).__name__})")
    except ValidationError as error:
        _fail("\n".join(f"setting {'.'.join(map(str, e['loc'])) or '(all)'}: {e['msg']}" for e in error.errors()))


@app.command()
def up() -> None:
    """Run the whole node on this machine: receive, sweep, draft and deliver, supervised."""
    raise typer.Exit(supervise(Settings()))


@app.command()
def migrate() -> None:
    """Bring the database schema to the newest revision."""
    migrate_database(open_database(Settings()))
    _console.print("The schema is current.")


@app.command()
def status(study: Annotated[int | None, typer.Argument(help="A study's number: show its timeline.")] = None) -> None:
    """Show where every study is and why, or the timeline of one."""
    sessions = _sessions()
    if study is None:
        _console.print(_status_table(sessions))
        return
    for line in _timeline_lines(sessions, study):
        _console.print(line, markup=False, highlight=False)


@app.command()
def health(role: Annotated[str | None, typer.Argument(help="Only this role, on this machine.")] = None) -> None:
    """Say in words and by exit status whether the roles are alive, at work, and have what they need."""
    sessions = _sessions()
    with sessions() as session:
        found = conditions_here(session, role, utc_now()) if role else conditions(session, utc_now())
    lacking = absent([role] if role else roles_of(Settings()), found)
    for sentence in (*(condition.words for condition in found), *lacking):
        _console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if not lacking and all(condition.is_well for condition in found) else 1)


@app.command()
def retry(study: Annotated[int, typer.Argument(help="The study's number in `dicom-node status`.")]) -> None:
    """Try a failed or skipped study again; a failed delivery resends the same bytes."""
    with _sessions().begin() as session:
        what = retry_study(session, study, utc_now())
    _console.print(f"study {study}: {what}")


@app.command()
def withdraw(
    study: Annotated[int, typer.Argument(help="The study's number in `dicom-node status`.")],
    reason: Annotated[str, typer.Option(help="Why, in words for the timeline.")],
) -> None:
    """Withdraw the drafts of a study: what is pending stops, PACS and RIS that take it are told not to use them."""
    with _sessions().begin() as session:
        sentences = withdraw_drafts(session, Settings(), study, reason, utc_now())
    for sentence in sentences:
        _console.print(f"study {study}: {sentence}", markup=False, highlight=False)


@app.command()
def commitments() -> None:
    """Show the newest requests for storage commitment and what became of them."""
    table = Table("commitment", "asked (UTC)", "by", "objects", "not committed", "state", "why")
    with _sessions()() as session:
        for row in session.exec(select(Commitment).order_by(col(Commitment.id).desc()).limit(50)):
            counts = (str(len(json.loads(each))) for each in (row.requested, row.failures))
            asked = f"{row.created_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(str(row.id), asked, row.calling_ae, *counts, row.state, row.reason)
    _console.print(table)


@app.command("import")
def import_objects(
    path: Annotated[Path, typer.Argument(help="A folder, a ZIP, a DICOMDIR or one file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Import DICOM objects from files, beside a node that runs or not. Importing them again changes nothing."""
    from dicom_node.import_command import run  # pydicom takes half a second, which `status` need not wait for

    raise typer.Exit(run(path, Settings(), as_json=as_json))


@app.command()
def pull(
    source: Annotated[str, typer.Argument(help="The source's name in the settings.")],
    accession: Annotated[str, typer.Option(help="Pull the studies of this accession number.")] = "",
    study: Annotated[str, typer.Option(help="Pull the study of this Study Instance UID.")] = "",
) -> None:
    """Pull a study from a PACS now; without an option, list what still waits there or failed."""
    from dicom_node.pull.command import run

    raise typer.Exit(run(source, Settings(), accession=accession, study=study))


@app.command()
def backup(folder: Annotated[Path, typer.Argument(help="New, or with earlier backups: what is there stays.")]) -> None:
    """Back up rows, images and audit trail, while the node runs or not; the settings without their secrets."""
    from dicom_node.backup.making import back_up

    settings = Settings()
    engine = open_database(settings)
    require_current_schema(engine)
    made = back_up(settings, engine, folder, utc_now)
    _console.print(f"Backed up {made.objects} objects, {made.new} of them new in the folder.")
    if made.missing:
        raise Permanent(f"of these, {made.missing} have no file any more: the backup cannot hold them")


@app.command()
def restore(folder: Annotated[Path, typer.Argument(help="The folder that `dicom-node backup` has filled.")]) -> None:
    """Fill an empty node, none of whose roles runs, from a backup."""
    from dicom_node.backup.restoring import restore as fill

    settings = Settings()
    found = fill(settings, open_database(settings), folder, utc_now)
    _console.print(f"Restored {found.objects} objects, as of {found.made_at}.")
    if found.damaged:
        raise Permanent(f"of these, {found.damaged} are damaged or missing in the backup: their rows have no file")


@app.command()
def conformance(output: Annotated[Path | None, typer.Option(help="A file to write instead.")] = None) -> None:
    """Write the DICOM conformance statement and HL7 profile of this node, as its settings are, in Markdown."""
    statement = pkgutil.resolve_name("integration.conformance.statement:write_statement")(Settings())
    if output is None:
        typer.echo(statement, nl=False)
        return
    try:
        output.write_text(statement, encoding="utf-8")
    except OSError as error:
        raise Permanent(f"{output} cannot be written: {error.strerror}") from error


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False) -> None:
    """Check folders, ports, database, broker, certificates, model, PACS and RIS; each fault comes with its fix."""
    from dicom_node.doctor.command import run

    raise typer.Exit(run(Settings(), as_json=as_json))


@app.command()
def demo(keep: Annotated[bool, typer.Option(help="Keep running until Ctrl-C.")] = False) -> None:
    """Send a synthetic chest film through a whole node with a simulated PACS and RIS, and show what comes back."""
    raise typer.Exit(pkgutil.resolve_name("integration.simulators.demo:run")(keep=keep))


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="JSONL: id, reference and candidate on every line.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results; by default beside the file.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="NPZ with `image` and `text`: measure retrieval.")] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(help="Rate by CheXprompt at this OpenAI-compatible address. ALL TEXTS ARE SENT THERE."),
    ] = None,
    judge_model: Annotated[str, typer.Option(help="The model's name at that address.")] = "",
    judge_key_file: Annotated[Path | None, typer.Option(help="A file that holds the address's API key.")] = None,
    judge_prices: Annotated[
        tuple[float, float], typer.Option(help="USD for a million prompt tokens and a million completion tokens.")
    ] = (0.0, 0.0),
) -> None:
    """Measure drafts against radiologists' reports: ROUGE-L, BLEU, label F1, RadGraph, CheXprompt, retrieval."""
    pkgutil.resolve_name("workers.evaluation.run:run")(
        predictions,
        out=out,
        embeddings=embeddings,
        judge_url=judge_url,
        judge_model=judge_model,
        judge_key_file=judge_key_file,
        judge_prices=judge_prices,
    )


@model_app.command("download")
def download(dest: Annotated[Path, typer.Argument(help="The folder to fill; needs 16 GB.")]) -> None:
    """Fetch the published files of LLaVA-Rad and Vicuna from the Hugging Face hub; go on where it ended if cut off."""
    require_acceptance(Settings())
    pkgutil.resolve_name("workers.llavarad.download:download_published")(dest)
    _console.print(f"Downloaded to {dest}. Next: dicom-node model import {dest} FOLDER")


@model_app.command("import")
def import_model(
    src: Annotated[Path, typer.Argument(help="The folder with llava-rad/ and vicuna-7b-v1.5/ as published.")],
    dest: Annotated[Path, typer.Argument(help="The model folder to make; needs 14 GB.")],
) -> None:
    """Make a model folder of the published files: checked, merged, without pickles."""
    require_acceptance(Settings())
    # So that a stop, too, leaves nothing half-written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pkgutil.resolve_name("workers.llavarad.published:import_published")(src, dest, say=_console.print)
    _console.print(f"Wrote {dest}: set model_dir to it.")


def _role_command(role: str) -> None:
    def command() -> None:
        raise typer.Exit(play(role, Settings(), stop_on_signals()))

    app.command(role, help=f"Run the {role} role alone.")(command)


for _role in ROLES:
    _role_command(_role)


def _sessions() -> Sessions:
    engine = open_database(Settings())
    require_current_schema(engine)
    return make_sessions(engine)


def _status_table(sessions: Sessions) -> Table:
    table = Table("study", "last image (UTC)", "objects", "where", "why")
    with sessions() as session:
        for each in list_statuses(session):
            received = f"{each.received_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(str(each.study_id), received, str(each.object_count), each.where, each.why)
    return table


def _timeline_lines(sessions: Sessions, study_id: int) -> list[str]:
    with sessions() as session:
        study = session.get(Study, study_id)
        if study is None:
            raise Permanent(f"study {study_id} does not exist: `dicom-node status` lists those that do")
        now = study_status(session, study)
        moments = [f"{moment.at:%Y-%m-%d %H:%M:%S.%f} UTC  {moment.what}" for moment in timeline(session, study)]
    return [f"Study {study_id}, {now.study_instance_uid}", *moments, f"Now: {now.where} ({now.why})"]


def _fail(sentence: str) -> None:
    Console(stderr=True).print(f"dicom-node: {sentence}", style="red", markup=False, highlight=False)
    raise SystemExit(1)
