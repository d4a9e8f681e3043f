"""What the guides let an administrator type is typed here, before a node that has drafted a film."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from guides import GUIDES, named, node_commands
from house import Node, require, storescu, wait_until

from dicom_node.roles import ROLES
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis
from workers.phantom.case import Case
from workers.phantom.film import film_dataset
from workers.phantom.habits import Habits

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

STUDIED_AT = datetime(2026, 3, 1, 9, tzinfo=UTC)

# These do not end by themselves, fetch gigabytes, or want another node: asked what they are, no more.
_ASKED_ONLY = {*ROLES, "up", "demo", "watch", "model", "restore", "pull"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Study 1 has its draft at a PACS and a RIS, and the role web is there."""
    require("storescu")
    folder = tmp_path_factory.mktemp("guides")
    with LoopbackPacs(folder / "pacs") as pacs, LoopbackRis(folder / "ris") as ris:
        node = Node(folder / "node", _settings(pacs.port, ris.port))
        node.start()
        try:
            film_dataset(Case(2), Habits(), studied_at=STUDIED_AT).save_as(
                node.folder / "FILM.dcm", enforce_file_format=True
            )
            done = storescu(node.port, node.folder / "FILM.dcm")
            assert done.returncode == 0, done.stderr
            assert {each.where for each in node.wait_settled(1).values()} == {"done"}
            wait_until(lambda: run(node, "health").returncode == 0, 60, "every role is well")
            yield node
        finally:
            node.stop()


def _settings(pacs_port: int, ris_port: int) -> str:
    return (
        "idle_timeout_s = 1.0\n"
        "[peers.STORESCU]\n"
        f'[[pacs]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs_port}\nrejection_notes = true\n'
        f'[[ris]]\nname = "ris"\nhost = "127.0.0.1"\nport = {ris_port}\ncancellations = true\n'
    )


def run(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dicom_node", *arguments]
    environment = {**node.environment, "COLUMNS": "200"}
    return subprocess.run(
        command, env=environment, cwd=node.folder, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("guide", GUIDES, ids=named)
def test_every_command_of_a_guide_does_what_it_is_for(node: Node, guide: Path) -> None:
    for words in node_commands(guide):
        done = run(node, words[0], "--help") if words[0] in _ASKED_ONLY else run(node, *words)
        assert done.returncode == 0, f"dicom-node {' '.join(words)}: {done.stdout}{done.stderr}"


def test_the_guides_let_more_than_a_few_commands_be_typed() -> None:
    assert len({words[0] for guide in GUIDES for words in node_commands(guide)}) >= 5
