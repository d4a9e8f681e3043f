"""The receivers that are compared, each started anew in a folder of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import free_port, wait_until

HERE = Path(__file__).parent
# name in the table → what it is
RECEIVERS = {
    "node": "this node: file, folder and row on the disk before Success",
    "node-plain": 'this node with receive_path = "plain"',
    "bare": "bare.py: what is left of this node without headers, rows and pynetdicom",
    "dcmtk": "storescp --fork +B -pdu 131072, TCP_NODELAY=1: nothing is on the disk at Success",
    "dcmtk-fsync": "the same with fsync of file and folder before Success (fsync_shim.c)",
    "orthanc": "Orthanc with TCP_NODELAY=1, its default SyncStorageArea",
    "pynetdicom": "python -m pynetdicom storescp",
}
_STOP_S = 10


def available() -> list[str]:
    """Those whose programs are installed."""
    needs = {"dcmtk": ["storescp"], "dcmtk-fsync": ["storescp", "cc"], "orthanc": ["Orthanc"]}
    return [name for name in RECEIVERS if all(shutil.which(each) for each in needs.get(name, []))]


@contextmanager
def running(name: str, folder: Path) -> Iterator[int]:
    """The port of a receiver that is ready."""
    port = free_port()
    folder.mkdir(parents=True)
    command, environment = _command(name, folder, port)
    with (folder.parent / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _is_open(port), f"{name} listens", timeout_s=60)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(name: str, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    if name.startswith("node"):
        return _node(folder, port, "plain" if name == "node-plain" else "fast")
    if name == "bare":
        return [sys.executable, str(HERE / "bare.py"), str(port), str(folder)], {}
    if name == "orthanc":
        return _orthanc(folder, port)
    if name == "pynetdicom":
        return [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-od", str(folder), str(port)], {}
    environment = {"TCP_NODELAY": "1"}
    if name == "dcmtk-fsync":
        environment |= {"LD_PRELOAD": str(_shim(folder.parent)), "FSYNC_DIR": str(folder)}
    return ["storescp", "-q", "-od", str(folder), "--fork", "+B", "-pdu", "131072", "+xa", str(port)], environment


def _node(folder: Path, port: int, path: str) -> tuple[list[str], dict[str, str]]:
    settings = {"DATA_DIR": str(folder), "PORT": str(port), "AE_TITLE": "BENCH", "RECEIVE_PATH": path}
    environment = {f"DICOM_NODE_{key}": value for key, value in settings.items()}
    node = [sys.executable, "-m", "dicom_node"]
    subprocess.run([*node, "migrate"], env={**os.environ, **environment}, check=True, capture_output=True)
    return [*node, "scp"], environment


def _orthanc(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    file = folder.parent / "orthanc.json"
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomPort": port, "HttpServerEnabled": False,
        "DicomAet": "BENCH", "OverwriteInstances": True, "MaximumPduLength": 131_072,
    }  # fmt: skip
    file.write_text(json.dumps(settings), encoding="utf-8")
    return ["Orthanc", str(file)], {"TCP_NODELAY": "1"}


def _shim(folder: Path) -> Path:
    built = folder / "fsync_shim.so"
    if not built.exists():
        source = HERE / "fsync_shim.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(built), str(source), "-ldl"], check=True)
    return built


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
