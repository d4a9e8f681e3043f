"""`dicom-node demo`: a node beside a simulated PACS and RIS, one synthetic film through it, and what comes back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from rich.console import Console
from sqlmodel import select

from dicom_node.config import Settings
from dicom_node.database import Sessions, open_database
from dicom_node.errors import NodeError, Transient
from dicom_node.models import Study
from dicom_node.setting_sources import CONFIG_FILE_VARIABLE
from dicom_node.timeline import study_status, timeline
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis

_FOLDER = Path("var/demo")
_CONFIG = _FOLDER / "dicom-node.toml"
_FINDINGS = ["--seed", "2", "--finding", "right-pacemaker", "--finding", "left-effusion", "--view", "PA"]
_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 0.1
_SUCCESS = 0x0000

_TEMPLATE = """\
data_dir = "{folder}/node"
port = {port}
http_port = {http_port}
idle_timeout_s = 1.0
poll_interval_s = 0.2

[[pacs]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}

[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
"""

_console = Console(highlight=False)


def run(*, keep: bool) -> int:
    """Run the demonstration; `keep` leaves everything running until Ctrl-C. Returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what it has started ends with it
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    with LoopbackPacs(_FOLDER / "pacs") as pacs, LoopbackRis(_FOLDER / "ris") as ris:
        port, http_port = _free_port("port"), _free_port("http_port")
        ports = {"port": port, "http_port": http_port, "pacs_port": pacs.port, "ris_port": ris.port}
        text = _TEMPLATE.format(folder=_FOLDER.absolute(), **ports)
        _CONFIG.write_text(text, encoding="utf-8")
        with _node() as node:
            _show_one_film(node, port)
            if keep:
                _keep_running(node, port, http_port)
    return 0


def _show_one_film(node: subprocess.Popen[bytes], port: int) -> None:
    with _step("Starting the node, making a film"):
        film, shown = _make_film()
        _wait_for(lambda: _is_open(port), node, "the node does not listen")
    with _step("Sending the film by C-STORE"):
        _send(film, port)
    sessions = Sessions(open_database(Settings(data_dir=_FOLDER / "node")))
    with _step("Loading the model, drafting, delivering to PACS and RIS"):
        _wait_for(lambda: _where(sessions) in ("done", "failed", "skipped"), node, "no draft was delivered")
    _print_timeline(sessions)
    _print_block("What is to be seen in the film", [shown])
    for sr in sorted((_FOLDER / "pacs").glob("*.dcm")):
        _print_block("The Structured Report in the PACS, as text", report_lines(dcmread(sr)))
    for oru in sorted((_FOLDER / "ris").glob("*.hl7")):
        _print_block("The ORU message in the RIS, answered AA", oru.read_bytes().decode().rstrip("\r").split("\r"))
    if _where(sessions) != "done":
        raise Transient(f"the demonstration did not end well: see {_FOLDER}/node.log")


def report_lines(ds: Dataset, depth: int = 0) -> list[str]:
    """A Structured Report's content tree, a line per item (PS3.3 C.17.3)."""
    name = ds.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in ds else ds.ValueType
    line = f"{'  ' * depth}{name}"
    value = _item_value(ds)
    lines = [f"{line}: {value}" if value else line]
    for item in ds.get("ContentSequence", ()):
        lines += report_lines(item, depth + 1)
    return lines


def _item_value(ds: Dataset) -> str:
    if ds.ValueType == "TEXT":
        return str(ds.TextValue)
    if ds.ValueType == "CODE":
        return str(ds.ConceptCodeSequence[0].CodeMeaning)
    if ds.ValueType == "UIDREF":
        return str(ds.UID)
    if ds.ValueType == "IMAGE":
        return f"image {ds.ReferencedSOPSequence[0].ReferencedSOPInstanceUID}"
    return ""


def _make_film() -> tuple[Path, str]:
    """The file, and in words what a radiologist would find in it."""
    film = _FOLDER / "film.dcm"
    command = [sys.executable, "-m", "workers.phantom.film", str(film), *_FINDINGS]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return film, done.stdout.strip()


@contextmanager
def _node() -> Iterator[subprocess.Popen[bytes]]:
    """The node as its users start it, its log in a file."""
    environment = {**os.environ, CONFIG_FILE_VARIABLE: str(_CONFIG.absolute())}
    with (_FOLDER / "node.log").open("wb") as log:
        command = [sys.executable, "-m", "dicom_node", "up"]
        process = subprocess.Popen(command, stderr=log, env=environment)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _keep_running(node: subprocess.Popen[bytes], port: int, http_port: int) -> None:
    command = f"{CONFIG_FILE_VARIABLE}={_CONFIG} .venv/bin/dicom-node"
    try:
        _console.print(
            f"\nThe node listens as [bold]CXRNODE[/bold] at 127.0.0.1:{port}. Send it films by DCMTK, or without it:\n"
            f"  dcmsend -aec CXRNODE 127.0.0.1 {port} FILE.dcm\n"
            f"  {command} import FILE.dcm\n"
            f"and look where they are:\n"
            f"  {command} status\n"
            f"or on its page, [bold]http://127.0.0.1:{http_port}[/bold], once you have let yourself in:\n"
            f"  {command} users add NAME --role admin\n"
            f"Ctrl-C stops it.",
            soft_wrap=True,
        )
        node.wait()
    except KeyboardInterrupt:
        _console.print("Stopping.")


@contextmanager
def _step(what: str) -> Iterator[None]:
    started = time.monotonic()
    with _console.status(f"{what} …"):
        yield
    _console.print(f"{what}: {time.monotonic() - started:.1f} s")


def _wait_for(is_reached: Callable[[], bool], node: subprocess.Popen[bytes], otherwise: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not is_reached():
        if time.monotonic() > deadline or node.poll() is not None:
            raise Transient(f"{otherwise}: see {_FOLDER}/node.log")
        time.sleep(_LOOK_EVERY_S)


def _free_port(setting: str) -> int:
    """The default of this setting, or any port where that is taken."""
    preferred = Settings.model_fields[setting].default
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Transient("no free port on 127.0.0.1")


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _send(film: Path, port: int) -> None:
    ds = dcmread(film)
    ae = AE(ae_title="DEMO")
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRNODE")
    if not assoc.is_established:
        raise Transient("the node refused the association")
    status = assoc.send_c_store(ds)
    assoc.release()
    if status.get("Status") != _SUCCESS:
        raise NodeError(f"the node answered C-STORE with {status.get('Status')}")


def _where(sessions: Sessions) -> str:
    with sessions() as session:
        return study_status(session, session.exec(select(Study)).one()).where


def _print_timeline(sessions: Sessions) -> None:
    with sessions() as session:
        moments = timeline(session, session.exec(select(Study)).one())
    _print_block("What happened, and when (UTC)", [f"{m.at:%H:%M:%S.%f}"[:-3] + f"  {m.what}" for m in moments])


def _print_block(title: str, lines: list[str]) -> None:
    _console.rule(title)
    for line in lines:
        _console.print(line, markup=False, soft_wrap=True)
