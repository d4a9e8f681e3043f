"""What a newcomer sees first."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from workers.phantom.case import Kind, Side
from workers.phantom.reading import read_findings

pytestmark = pytest.mark.system

PASSWORD = "correct horse battery"


def test_the_demonstration_ends_with_an_sr_in_the_pacs_and_an_oru_in_the_ris(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dicom_node", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (sr,) = (tmp_path / "var/demo/pacs").glob("*.dcm")
    (oru,) = (tmp_path / "var/demo/ris").glob("*.hl7")
    assert sr.stem in oru.read_text(encoding="utf-8")
    for words in ("reported → done", "PRELIMINARY AI-GENERATED DRAFT", "ORU^R01^ORU_R01", "(AA)"):
        assert words in done.stdout
    assert "right pacemaker, moderate left effusion" in done.stdout
    draft = next(line for line in done.stdout.splitlines() if line.strip().startswith("Finding: "))
    assert read_findings(draft) == {(Kind.PACEMAKER, Side.RIGHT), (Kind.EFFUSION, Side.LEFT)}
    assert done.stdout.count("SYNTHETIC TEST MODEL: ") == 3  # in the timeline, the SR and the ORU


def test_a_demonstration_that_is_told_to_end_leaves_no_node(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dicom_node", "demo", "--keep"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = "".join(iter(demo.stdout.readline, "Ctrl-C stops it.\n"))
        (port,) = re.findall(r"CXRNODE at 127\.0\.0\.1:(\d+)", said)
        (page,) = re.findall(r"http://127\.0\.0\.1:\d+", said)
        (name,) = re.findall(r"DICOM_NODE_CONFIG=\S+ \.venv/bin/dicom-node users add (NAME)", said)
        command = [sys.executable, "-m", "dicom_node", "users", "add", name, "--role", "admin"]
        named = {**os.environ, "DICOM_NODE_CONFIG": str(tmp_path / "var/demo/dicom-node.toml")}
        subprocess.run(command, input=f"{PASSWORD}\n", env=named, text=True, timeout=60, check=True)
        assert b"Log in" in urlopen(page, timeout=30).read()
        socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
        demo.terminate()
        assert demo.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)
