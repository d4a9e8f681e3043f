"""Which rule would take a study or a file, and why: asked as the worker asks, and nothing is written."""

from pathlib import Path

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.receive.catalog import columns_of
from dicom_node.receive.header import InstanceHeader, read_header
from dicom_node.rules.film import read_film
from dicom_node.rules.rule_file import Rules
from dicom_node.rules.verdict import Explanation, judge
from dicom_node.storage import InstanceStore
from workers.choice import candidate, choose_image
from workers.hanging import refuse
from workers.ruling import film_of
from workers.selection import Skipped, choose_frontal


def explain_study(
    sessions: Sessions, store: InstanceStore, *, study_id: int, settings: Settings, rules: Rules
) -> Explanation:
    """Of a study as it is now. Raises what `film_of` raises."""
    with sessions() as session:
        choice = choose_image(session, study_id, settings)
    if isinstance(choice, Skipped):
        return Explanation(choice.words)
    if refusal := refuse(store.open(choice.instance.path)):
        return Explanation(refusal.words)
    film = film_of(sessions, store, choice.instance)
    return Explanation("", film, judge(rules, film))


def explain_file(part10: Path, *, calling_ae: str, settings: Settings, rules: Rules) -> Explanation:
    """Of a study that is this file alone, if it came from that AE title; empty: from nobody in particular.

    No order is looked for. Raises InvalidHeader if it is no DICOM object, OSError if it cannot be read.
    """
    with part10.open("rb") as file:
        header = read_header(file)
    choice = choose_frontal([candidate(_instance(header, calling_ae), header.modality, settings)])
    if isinstance(choice, Skipped):
        return Explanation(choice.words)
    if refusal := refuse(part10):
        return Explanation(refusal.words)
    film = read_film(
        part10,
        modality=header.modality,
        body_part=header.body_part,
        view_position=header.view,
        calling_ae=calling_ae,
    )
    return Explanation("", film, judge(rules, film))


def _instance(header: InstanceHeader, calling_ae: str) -> Instance:
    """The row that it would have, as far as selection looks at it."""
    return Instance(**columns_of(header), series_id=0, path="", calling_ae=calling_ae, received_at=utc_now())
