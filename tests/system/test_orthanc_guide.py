"""The Orthanc of deploy/connect-pacs.md, as it stands there: a film goes round through it, and not twice."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from guides import ROOT, fenced
from house import Node, is_open, require, wait_until
from orthanc import Orthanc
from waiting import free_port

from workers.phantom.case import Case
from workers.phantom.film import film_dataset
from workers.phantom.habits import Habits

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

STUDIED_AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
GUIDE = ROOT / "deploy/connect-pacs.md"
MODALITY = "CR_ROOM_1"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
WAIT_S = 120.0  # only ever waited for when something is broken


@pytest.fixture(params=["plain", "tls"])
def certificates(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where those of the guide are, by their names there; None: both ends speak without TLS."""
    if request.param == "plain":
        return None
    authority = Authority(tmp_path / "certificates")
    for name in ("node", "pacs", "modality"):
        authority.issue(name)
    authority.certificate.rename(authority.folder / "hospital-ca.pem")
    return authority.folder


@pytest.fixture
def orthanc(tmp_path: Path) -> Orthanc:
    return Orthanc(free_port(), free_port())


@pytest.fixture
def node(tmp_path: Path, orthanc: Orthanc, certificates: Path | None) -> Iterator[Node]:
    """With the settings of the guide, and Orthanc's address."""
    plain, over_tls = fenced(GUIDE, "toml")
    toml = over_tls.replace("/etc/dicom-node/", f"{certificates}/") if certificates else plain
    here = toml.replace("10.1.0.0/16", "127.0.0.1/32").replace("10.1.0.5", "127.0.0.1")
    here = here.replace("port = 104", f"port = {orthanc.dicom_port}").replace("commitment = true", "commitment = false")
    node = Node(tmp_path / "node", f"idle_timeout_s = 1.0\n{here}")
    node.start()
    yield node
    node.stop()


@pytest.fixture
def routing(tmp_path: Path, orthanc: Orthanc, node: Node, certificates: Path | None) -> Iterator[Orthanc]:
    """Orthanc with the files of the guide; only addresses, ports and folders are those of this machine."""
    require("Orthanc", "storescu")
    (lua,), (text, over_tls) = fenced(GUIDE, "lua"), fenced(GUIDE, "json")
    script, file = tmp_path / "to-node.lua", tmp_path / "orthanc.json"
    script.write_text(lua)
    config = _on_this_machine(json.loads(text), orthanc, node, script)
    if certificates:
        config["DicomModalities"]["node"]["UseDicomTls"] = True
        config |= json.loads(over_tls.replace("/etc/orthanc/", f"{certificates}/"))
    file.write_text(json.dumps(config))
    with (
        (tmp_path / "orthanc.log").open("wb") as log,
        subprocess.Popen(["Orthanc", file], stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: is_open(orthanc.dicom_port) and is_open(orthanc.http_port), WAIT_S, "Orthanc listens")
            yield orthanc
        finally:
            process.terminate()


def _on_this_machine(config: dict[str, Any], orthanc: Orthanc, node: Node, script: Path) -> dict[str, Any]:
    assert config["LuaScripts"] == ["/etc/orthanc/to-node.lua"]
    config["DicomModalities"]["node"] |= {"Host": "127.0.0.1", "Port": node.port}
    folder = str(script.parent / "orthanc")
    return config | {
        "DicomPort": orthanc.dicom_port,
        "HttpPort": orthanc.http_port,
        "LuaScripts": [str(script)],
        "StorageDirectory": folder,
        "IndexDirectory": folder,
        "StableAge": 1,
    }


def send(orthanc: Orthanc, film: Path, certificates: Path | None) -> None:
    own = ["+tls", "modality.key", "modality.pem", "+cf", "hospital-ca.pem"] if certificates else []
    command = ["storescu", *own, "-aet", MODALITY, "-aec", "PACS", "127.0.0.1", str(orthanc.dicom_port), str(film)]
    done = subprocess.run(command, cwd=certificates, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_film_goes_from_orthanc_to_the_node_and_its_draft_back_once(
    tmp_path: Path, node: Node, routing: Orthanc, certificates: Path | None
) -> None:
    film = tmp_path / "film.dcm"
    film_dataset(Case(2), Habits(), studied_at=STUDIED_AT).save_as(film, enforce_file_format=True)
    send(routing, film, certificates)
    wait_until(lambda: len(routing.instances()) == 2, WAIT_S, "the draft is in Orthanc")
    assert [each.sop_class_uid for each in routing.instances()].count(SR) == 1
    (status,) = node.wait_settled(1).values()
    assert (status.where, status.object_count) == ("done", 1)
