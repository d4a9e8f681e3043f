"""Commands that look and change nothing."""

import json
import threading
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated

import typer
from rich.table import Table
from sqlmodel import Session, col, select

from dicom_node.clock import utc_now
from dicom_node.commands.terminal import AsJson, opened_rows, print_json, read_rows, say, show
from dicom_node.config import Settings
from dicom_node.health import Condition, absent, conditions, conditions_here, expected
from dicom_node.models import Commitment
from dicom_node.roles import roles_of
from dicom_node.timeline import Moment, StudyStatus, find_study, list_statuses, study_status, timeline

_MOST_COMMITMENTS = 50


def status(
    study: Annotated[int | None, typer.Argument(help="A study's number: show its timeline.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where every study is and why, or the timeline of one."""
    if study is None:
        _show_statuses(read_rows(list_statuses), as_json=as_json)
    else:
        _show_study(*read_rows(partial(_read_study, study)), as_json=as_json)


def health(
    role: Annotated[str | None, typer.Argument(help="Only this role, on this machine.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say in words and by exit status whether the roles are alive, at work, and have what they need."""
    now = utc_now()
    roles = [role] if role else roles_of(Settings())
    read = read_rows(lambda session: conditions_here(session, role, now) if role else conditions(session, now))
    found = expected(read, roles)
    lacking = absent(roles, found)
    is_well = not lacking and all(condition.is_well for condition in found)
    if as_json:
        print_json({"is_well": is_well, "roles": [_condition(each) for each in found], "absent": lacking})
    else:
        for sentence in (*(condition.words for condition in found), *lacking):
            say(sentence)
    raise typer.Exit(0 if is_well else 1)


def commitments(as_json: AsJson = False) -> None:
    """Show the newest requests for storage commitment and what became of them."""
    newest = select(Commitment).order_by(col(Commitment.id).desc()).limit(_MOST_COMMITMENTS)
    found = read_rows(lambda session: [_commitment(row) for row in session.exec(newest)])
    if as_json:
        print_json(found)
        return
    table = Table("commitment", "asked (UTC)", "by", "objects", "not committed", "state", "why")
    for each in found:
        table.add_row(*(str(value) for value in each.values()))
    show(table)


def agreement(
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Of drafts made since this day.")] = None,
    model: Annotated[str, typer.Option(help="Of this model's drafts, by its name.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show how drafts agree with the signed reports: by finding and over time, with 95 % intervals."""
    from dicom_node.agreement.command import run  # pydicom takes half a second, which `status` need not wait for

    run(since.date() if since else None, model, as_json=as_json)


def watch() -> None:
    """Show where the newest studies are, and how the roles are, as it changes; until Ctrl-C."""
    from dicom_node.commands.live import watch_rows

    with opened_rows(Settings()) as sessions:
        watch_rows(sessions, roles_of(Settings()), threading.Event())


def _show_statuses(statuses: list[StudyStatus], *, as_json: bool) -> None:
    if as_json:
        print_json([_status(each) for each in statuses])
        return
    show(status_table(statuses))


def status_table(statuses: list[StudyStatus]) -> Table:
    table = Table("study", "last image (UTC)", "objects", "where", "why")
    for each in statuses:
        table.add_row(str(each.study_id), _minute(each.received_at), str(each.object_count), each.where, each.why)
    return table


def _read_study(study_id: int, session: Session) -> tuple[StudyStatus, list[Moment]]:
    study = find_study(session, study_id)
    return study_status(session, study), timeline(session, study)


def _show_study(now: StudyStatus, moments: list[Moment], *, as_json: bool) -> None:
    if as_json:
        print_json(_status(now) | {"timeline": [{"at": each.at.isoformat(), "what": each.what} for each in moments]})
        return
    say(f"Study {now.study_id}, {now.study_instance_uid}")
    for moment in moments:
        say(f"{moment.at:%Y-%m-%d %H:%M:%S.%f} UTC  {moment.what}")
    say(f"Now: {now.where} ({now.why})")


def _status(found: StudyStatus) -> dict[str, object]:
    return asdict(found) | {"received_at": found.received_at.isoformat()}


def _condition(found: Condition) -> dict[str, object]:
    return asdict(found) | {"is_well": found.is_well}


def _commitment(row: Commitment) -> dict[str, object]:
    objects, failures = (len(json.loads(each)) for each in (row.requested, row.failures))
    return {
        "commitment": row.id,
        "asked_at": _minute(row.created_at),
        "calling_ae": row.calling_ae,
        "objects": objects,
        "not_committed": failures,
        "state": row.state,
        "reason": row.reason,
    }


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
