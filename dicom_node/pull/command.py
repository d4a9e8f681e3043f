"""`dicom-node pull`: a study from a source, now; or what became of those asked for."""

from contextlib import closing

from rich.table import Table
from sqlmodel import col, select

from dicom_node.audit import audited
from dicom_node.clock import utc_now
from dicom_node.commands.terminal import print_json, say, show
from dicom_node.config import Settings
from dicom_node.database import Sessions, opened_current
from dicom_node.errors import NodeError, Permanent
from dicom_node.models import Pull
from dicom_node.orphans import take_over
from dicom_node.peers import DicomSource
from dicom_node.pull.puller import Puller
from dicom_node.pull.query import FoundStudy, studies_by_accession, studies_by_uid
from dicom_node.receive.intake import Intake, Receiver
from dicom_node.states import PullState


def run(name: str, settings: Settings, *, accession: str, study: str, as_json: bool) -> int:
    """Pull what was named, or list what is not done. Returns the exit status: 1 if not all came."""
    source = _source(name, settings)
    with opened_current(settings) as engine:
        receiver = Receiver.of(settings, engine, utc_now)
        if not accession and not study:
            _list(_open_pulls(receiver.sessions, source), as_json=as_json)
            return 0
        with (
            closing(take_over(engine, receiver.sessions, settings, utc_now(), Pull)),
            audited(settings, utc_now) as trail,
        ):
            puller = Puller(source, settings, receiver, Intake(receiver), trail)
            pulled = [_pull(puller, each) for each in _studies(puller, accession, study)]
    _tell(pulled, as_json=as_json)
    return 0 if all(each["where"] == PullState.DONE for each in pulled) else 1


def _list(found: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        show(_table(found))


def _tell(pulled: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        print_json(pulled)
        return
    for each in pulled:
        say(f"{each['study']}: {each['where']} ({each['why']})")


def _source(name: str, settings: Settings) -> DicomSource:
    for source in settings.sources:
        if source.name == name:
            return source
    known = ", ".join(each.name for each in settings.sources) or "none"
    raise Permanent(f"{name} is not in the settings' sources (found: {known})")


def _studies(puller: Puller, accession: str, study: str) -> list[FoundStudy]:
    with puller.asking() as ask:
        found = studies_by_uid(ask, study) if study else studies_by_accession(ask, accession)
    if not found:
        raise Permanent(f"{puller.source.ae_title} has no such study")
    return found


def _pull(puller: Puller, study: FoundStudy) -> dict[str, str]:
    """What became of one study. That it is refused keeps no other of its accession number from being pulled."""
    try:
        return _told(puller.pull_now(study))
    except NodeError as error:
        return {"study": study.study_instance_uid, "where": "refused", "due": "", "why": str(error)}


def _open_pulls(sessions: Sessions, source: DicomSource) -> list[dict[str, str]]:
    """The newest that wait, or that somebody must look at."""
    open_ones = select(Pull).where(Pull.source == source.name, Pull.state != PullState.DONE)
    with sessions() as session:
        return [_told(pull) for pull in session.exec(open_ones.order_by(col(Pull.id).desc()).limit(50))]


def _told(pull: Pull) -> dict[str, str]:
    what = pull.study_instance_uid or f"the prior of study {pull.prior_of}"
    return {"study": what, "where": pull.state, "due": f"{pull.due_at:%Y-%m-%d %H:%M:%S}", "why": pull.reason}


def _table(pulls: list[dict[str, str]]) -> Table:
    table = Table("study", "where", "due (UTC)", "why")
    for each in pulls:
        table.add_row(*each.values())
    return table
