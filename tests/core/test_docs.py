"""What an administrator can set, run or meet is in the documents."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.main import get_command

from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.peers import (
    Alarms,
    AuditSyslog,
    Channel,
    Completeness,
    DicomDestination,
    DicomSource,
    Hl7Paths,
    HttpTls,
    MllpDestination,
    Oidc,
    Peer,
    PeerAddress,
    PullRule,
    Retention,
    Tls,
)

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "deploy/settings.md").read_text(encoding="utf-8")
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
        Retention,
        Channel,
        Alarms,
        Hl7Paths,
        DicomDestination,
        MllpDestination,
        Tls,
        HttpTls,
        Oidc,
        AuditSyslog,
    ],
)
def test_every_setting_is_described_as_the_code_describes_it(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        row = re.search(rf"^\| `{name}` \| (.*) \| {re.escape(field.description or '?')} \|$", SETTINGS, re.MULTILINE)
        assert row, f"deploy/settings.md has no row for {name} with its description"


def test_every_command_is_in_the_readme() -> None:
    names = get_command(app).commands  # type: ignore[attr-defined]  # a group
    assert [name for name in names if f"`{name}" not in README and f"dicom-node {name}" not in README] == []
