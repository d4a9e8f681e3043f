"""What the node made comes back from the PACS, by a rule that routes all of a study: it is never read."""

from io import BytesIO
from pathlib import Path

import pytest
from doubles import NOON
from page_samples import EYES, PACS, draft
from rows import receive
from sqlmodel import select

from dicom_node.database import Sessions
from dicom_node.models import Instance, Series
from dicom_node.receive.catalog import Catalog, Files
from dicom_node.receive.header import read_header
from dicom_node.states import DeliveryKind
from dicom_node.storage import StoredFile
from integration.objects import encoder
from workers.selection import Candidate, Chosen, Skipped, SkipReason, choose_frontal

KINDS = (DeliveryKind.SR, *EYES)


def _come_back(sessions: Sessions, folder: Path, kind: DeliveryKind) -> None:
    payload = encoder(kind)(draft(folder), PACS).payload
    stored, files = StoredFile(f"{kind}.dcm", len(payload)), Files(lambda file: file.path, lambda _: True, print)
    with sessions.transaction() as connection:
        Catalog(connection, files).register(read_header(BytesIO(payload)), stored, calling_ae="PACS", now=NOON)


def _choose(sessions: Sessions) -> Chosen | Skipped:
    """As for a sender for whom the site vouches in everything."""
    with sessions() as session:
        rows = session.exec(select(Instance, Series).join(Series)).all()
        return choose_frontal(
            [Candidate(each, of.modality, assume_chest=True, assume_frontal=True) for each, of in rows]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_alone_it_is_skipped_as_a_result_of_this_node(sessions: Sessions, tmp_path: Path, kind: DeliveryKind) -> None:
    _come_back(sessions, tmp_path, kind)
    choice = _choose(sessions)
    assert isinstance(choice, Skipped)
    assert choice.reason is SkipReason.OWN_OUTPUT


def test_beside_the_film_the_film_is_chosen(sessions: Sessions, tmp_path: Path) -> None:
    with sessions.begin() as session:
        film = receive(session).sop_instance_uid
    for kind in KINDS:
        _come_back(sessions, tmp_path, kind)
    choice = _choose(sessions)
    assert isinstance(choice, Chosen)
    assert choice.instance.sop_instance_uid == film
