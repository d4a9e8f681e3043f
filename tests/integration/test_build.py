"""The settings decide who is sent what."""

from pathlib import Path

import pytest

from dicom_node.config import Settings
from dicom_node.states import DeliveryKind
from integration.build import build_destinations
from integration.patient_query import AskingFirst

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example"}
RIS = {"name": "ris", "host": "ris.example"}


@pytest.mark.parametrize(
    ("pacs", "ris", "kinds"),
    [
        ({}, {}, ["sr", "oru"]),
        ({"rejection_notes": True}, {}, ["sr", "rejection", "oru"]),
        ({}, {"cancellations": True}, ["sr", "oru", "cancellation"]),
    ],
)
def test_what_tells_of_a_withdrawal_goes_where_the_site_allows_it(
    pacs: dict[str, object], ris: dict[str, object], kinds: list[str], tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, pacs=[PACS | pacs], ris=[RIS | ris])
    assert [str(each.kind) for each in build_destinations(settings)] == kinds


def test_a_pacs_is_asked_before_drafts_and_rejection_notes(tmp_path: Path) -> None:
    rules = {"ask_before_sending": True, "rejection_notes": True}
    senders = build_destinations(Settings(data_dir=tmp_path, pacs=[PACS | rules]))
    asks = {each.kind: isinstance(each, AskingFirst) for each in senders}
    assert asks == {DeliveryKind.SR: True, DeliveryKind.REJECTION: True}
