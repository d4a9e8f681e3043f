"""Commands of an operator: what is stuck goes on, what is wrong is taken back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlmodel import Session

from dicom_node.audit import audited, who_runs_this
from dicom_node.clock import utc_now
from dicom_node.commands.terminal import StudyNumber, opened_rows, read_rows, say
from dicom_node.config import Settings
from dicom_node.errors import Permanent
from dicom_node.failures import acknowledge as acknowledge_failure
from dicom_node.operator import failed_studies
from dicom_node.operator import resend as resend_draft
from dicom_node.operator import retry as retry_study
from dicom_node.timeline import find_study
from dicom_node.withdrawal import withdraw as withdraw_drafts


def retry(
    study: Annotated[int | None, typer.Argument(help="The study's number in `dicom-node status`.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed and nobody has acknowledged.")] = False,
    destination: Annotated[str, typer.Option(help="Of these, what failed at this PACS or RIS.")] = "",
) -> None:
    """Try a failed or skipped study again, or all that failed; a failed delivery resends the same bytes."""
    if (study is None) != failed or (destination and not failed):
        raise typer.BadParameter("expected a study's number, or --failed, which may have a --destination")
    if study is not None:
        _retry(study)
    elif not all([_is_retried(each) for each in read_rows(lambda session: failed_studies(session, destination))]):
        raise typer.Exit(1)


def resend(
    study: StudyNumber,
    destination: Annotated[str, typer.Argument(help="The name of a PACS or RIS in the settings.")],
) -> None:
    """Send the newest draft of a study to one destination now, as the same bytes, also if it has it."""
    with _operating(Settings(), study) as (session, by):
        what = resend_draft(session, study, destination, utc_now(), by=by)
    say(f"study {study}: {what}")


def acknowledge(study: StudyNumber) -> None:
    """Take a failed study off the list of those that need a person; it stays failed, and in its timeline."""
    with _operating(Settings(), study) as (session, by):
        what = acknowledge_failure(session, study, utc_now(), by=by)
    say(f"study {study}: {what}")


def withdraw(
    study: StudyNumber,
    reason: Annotated[str, typer.Option(help="Why, in words for the timeline.")],
) -> None:
    """Withdraw the drafts of a study: what is pending stops, PACS and RIS that take it are told not to use them."""
    settings = Settings()
    with _operating(settings, study) as (session, by):
        sentences = withdraw_drafts(session, settings, study, reason, utc_now(), by=by)
    for sentence in sentences:
        say(f"study {study}: {sentence}")


def _retry(study: int) -> None:
    with _operating(Settings(), study) as (session, by):
        what = retry_study(session, study, utc_now(), by=by)
    say(f"study {study}: {what}")


def _is_retried(study: int) -> bool:
    """Of many: one that cannot be tried again, since something else has begun meanwhile, keeps no other back."""
    try:
        _retry(study)
    except Permanent as error:
        say(str(error))
        return False
    return True


@contextmanager
def _operating(settings: Settings, study_id: int) -> Iterator[tuple[Session, str]]:
    """One transaction, and who runs the command. The audit trail has what was done before it counts."""
    person = who_runs_this()
    with opened_rows(settings) as sessions, sessions.begin() as session:
        study = find_study(session, study_id)
        yield session, person.name
        with audited(settings, utc_now) as trail:
            trail.accessed(person, study.study_instance_uid, study.patient_id, is_change=True)
