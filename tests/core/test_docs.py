"""What an administrator can set, run or meet is in the documents."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.main import get_command

from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.peers import (
    Completeness,
    DicomDestination,
    DicomSource,
    Hl7Paths,
    MllpDestination,
    Peer,
    PeerAddress,
    PullRule,
    Tls,
)
from dicom_node.receive import intake, normalized
from integration import store_scu

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "deploy/settings.md").read_text(encoding="utf-8")
CONFORMANCE = (ROOT / "deploy/conformance.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "model",
    [
        Settings,
        Peer,
        PeerAddress,
        Completeness,
        DicomSource,
        PullRule,
        Hl7Paths,
        DicomDestination,
        MllpDestination,
        Tls,
    ],
)
def test_every_setting_is_described_as_the_code_describes_it(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        row = re.search(rf"^\| `{name}` \| (.*) \| {re.escape(field.description or '?')} \|$", SETTINGS, re.MULTILINE)
        assert row, f"deploy/settings.md has no row for {name} with its description"


def test_every_command_is_in_the_readme() -> None:
    names = get_command(app).commands  # type: ignore[attr-defined]  # a group
    assert [name for name in names if f"`{name}" not in README and f"dicom-node {name}" not in README] == []


@pytest.mark.parametrize(
    "status",
    [
        intake.SUCCESS,
        intake.OUT_OF_RESOURCES,
        intake.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
        intake.CANNOT_UNDERSTAND,
        intake.UNEXPECTED,
        normalized.INVALID_ATTRIBUTE_VALUE,
        normalized.PROCESSING_FAILURE,
        normalized.DUPLICATE_SOP_INSTANCE,
        normalized.NO_SUCH_SOP_INSTANCE,
        normalized.INVALID_OBJECT_INSTANCE,
        normalized.NO_SUCH_SOP_CLASS,
        normalized.MISSING_ATTRIBUTE,
        normalized.MISSING_ATTRIBUTE_VALUE,
        normalized.RESOURCE_LIMITATION,
    ],
)
def test_every_status_of_the_scp_is_in_the_conformance_statement(status: int) -> None:
    assert re.search(rf"^\| {status:04X} ", CONFORMANCE, re.MULTILINE)


def test_every_single_status_of_the_scu_is_in_the_conformance_statement() -> None:
    told = [f"{status:04X}" for status in store_scu._SINGLE_STATUSES]
    assert [code for code in told if code not in CONFORMANCE] == []
