"""Commands that read or write files: objects, backups, the conformance statement."""

import pkgutil
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.clock import utc_now
from dicom_node.commands.terminal import AsJson, StudyNumber, opened_rows, print_json, say
from dicom_node.config import Settings
from dicom_node.database import opened, opened_current
from dicom_node.errors import Permanent


def import_objects(
    path: Annotated[Path, typer.Argument(help="A folder, a ZIP, a DICOMDIR or one file.")],
    as_json: AsJson = False,
) -> None:
    """Import DICOM objects from files, beside a node that runs or not. Importing them again changes nothing."""
    from dicom_node.import_command import run  # pydicom takes half a second, which `status` need not wait for

    raise typer.Exit(run(path, Settings(), as_json=as_json))


def pull(
    source: Annotated[str, typer.Argument(help="The source's name in the settings.")],
    accession: Annotated[str, typer.Option(help="Pull the studies of this accession number.")] = "",
    study: Annotated[str, typer.Option(help="Pull the study of this Study Instance UID.")] = "",
    as_json: AsJson = False,
) -> None:
    """Pull a study from a PACS now; without an option, list what still waits there or failed."""
    from dicom_node.pull.command import run

    raise typer.Exit(run(source, Settings(), accession=accession, study=study, as_json=as_json))


def export(
    study: StudyNumber,
    folder: Annotated[Path, typer.Argument(help="A folder to make. It will hold patient data.")],
    as_json: AsJson = False,
) -> None:
    """Write what was received and sent of a study into a new folder, with a list of it. The audit trail says so."""
    from dicom_node.exporting import export_study

    settings = Settings()
    with opened_rows(settings) as sessions:
        manifest = export_study(settings, sessions, study, folder, utc_now)
    if as_json:
        print_json(manifest.as_json())
    else:
        say(f"Wrote {len(manifest.files)} files to {folder}.")
        if manifest.removed:
            say(f"{manifest.removed} objects were removed before, when their time was up.")
    if manifest.missing:
        raise Permanent(f"{manifest.missing} objects have no file any more: they could not be written")
    if manifest.damaged:
        raise Permanent(f"{manifest.damaged} objects are not as they were sent any more: the manifest names them")


def backup(folder: Annotated[Path, typer.Argument(help="New, or with earlier backups: what is there stays.")]) -> None:
    """Back up rows, images and audit trail, while the node runs or not; the settings without their secrets."""
    from dicom_node.backup.making import back_up

    settings = Settings()
    with opened_current(settings) as engine:
        made = back_up(settings, engine, folder, utc_now)
    say(f"Backed up {made.objects} objects of {settings.data_dir.absolute()}, {made.new} of them new in the folder.")
    if made.missing:
        words = f"of these, {made.missing} have no file any more, or one that cannot be read"
        raise Permanent(f"{words}: the backup cannot hold them")


def restore(folder: Annotated[Path, typer.Argument(help="The folder that `dicom-node backup` has filled.")]) -> None:
    """Fill an empty node, none of whose roles runs, from a backup."""
    from dicom_node.backup.restoring import restore as fill

    settings = Settings()
    with opened(settings) as engine:
        found = fill(settings, engine, folder, utc_now)
    say(f"Restored {found.objects} objects, as of {found.made_at}.")
    if found.damaged:
        words = f"of these, {found.damaged} are damaged or missing in the backup: their rows have no file"
        raise Permanent(f"{words}; they are of studies {', '.join(map(str, found.studies))}")


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
