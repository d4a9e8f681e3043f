"""A sample of `make validate`: a film and a name in three scripts, every kind, every validator."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from checking import VALIDATORS, validate
from page_samples import draft
from pydicom import dcmread
from pydicom.dataset import Dataset
from report_samples import RIS, make_document
from samples import drafts, sources
from validators import missing

from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from integration.objects import encoder
from integration.oru import encode_oru

SAMPLE = ("rsna_16d7f894_PA", "chrH32")
PACS = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def validators() -> None:
    if absent := missing():
        words = f"not there: {', '.join(absent)}"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)


def test_no_validator_has_anything_against_any_kind(tmp_path: Path) -> None:
    paths = [path for path in sources("cxr_dicom", "charset") if path.stem in SAMPLE]
    if not paths:
        pytest.skip("../shared/data is absent: the published files are not in the project")
    verdicts = validate([draft for path in paths for draft in drafts(path, tmp_path)], tmp_path)
    assert [str(message) for verdict in verdicts.values() for message in verdict.opposed] == []
    assert all(verdict.files for verdict in verdicts.values())


def lose_the_text(ds: Dataset) -> None:
    (item,) = (each for each in ds.ContentSequence[-1].ContentSequence if each.ValueType == "TEXT")
    del item.TextValue


def relate_wrongly(ds: Dataset) -> None:
    ds.ContentSequence[-1].RelationshipType = "INFERRED FROM"


def show_it_nowhere(ds: Dataset) -> None:
    del ds.DisplayedAreaSelectionSequence


@pytest.mark.parametrize(
    ("tool", "kind", "damage"),
    [
        ("dciodvfy", DeliveryKind.SR, lose_the_text),
        ("dicom-validator", DeliveryKind.SR, lose_the_text),
        ("dsrdump", DeliveryKind.SR, lose_the_text),
        ("pixelmed", DeliveryKind.SR, relate_wrongly),
        ("dcmpschk", DeliveryKind.GSPS, show_it_nowhere),
    ],
)
def test_each_validator_is_heard(
    tool: str, kind: DeliveryKind, damage: Callable[[Dataset], None], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.dcm", tmp_path / "bad.dcm"
    good.write_bytes(encoder(kind)(draft(tmp_path), PACS).payload)
    ds = dcmread(good)
    damage(ds)
    ds.save_as(bad)
    _, check = VALIDATORS[tool]
    assert {message.file for message in check([good, bad]) if message.severity == "E"} == {bad}


def test_hl7apy_is_heard(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.hl7", tmp_path / "bad.hl7"
    good.write_bytes(encode_oru(make_document(), RIS).payload)
    bad.write_bytes(good.read_bytes().replace(b"\rPV1|", b"\rPV9|"))
    _, check = VALIDATORS["hl7apy"]
    assert {message.file for message in check([good, bad]) if message.severity == "E"} == {bad}
