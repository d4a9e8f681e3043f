"""Payloads to deliver, and peers to deliver them to: DCMTK, Orthanc, python-hl7, two Node.js libraries, raw sockets."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NoReturn

import hl7.mllp
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian
from waiting import LONG_S, free_port, wait_until

from dicom_node.peers import Tls
from dicom_node.uids import derive_control_id, derive_uid

TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools"
CACHE = Path.home() / ".cache" / "dicom-node-tests"
SHORT_S = 0.5  # waited for in full by each test of a peer that keeps silent

SOP_INSTANCE_UID = str(derive_uid("test", "delivery"))
CONTROL_ID = derive_control_id("test", "delivery")


def sr_payload(*, findings: str = "Lungs clear. Größe unverändert.") -> bytes:
    """A Basic Text SR as Part 10 bytes; complete enough for peers that look into it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    ds.file_meta.MediaStorageSOPInstanceUID = SOP_INSTANCE_UID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = BasicTextSRStorage, SOP_INSTANCE_UID
    ds.StudyDate, ds.StudyTime, ds.ContentDate, ds.ContentTime = "20260801", "101500", "20260801", "103000"
    ds.Modality, ds.AccessionNumber, ds.ReferringPhysicianName = "SR", "ACC1", ""
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "CANARY^PHI", "CANARY-ID", "19600102", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derive_uid("test", "study"), derive_uid("test", "series")
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", "1", "1"
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.VerificationFlag = "PARTIAL", "UNVERIFIED"
    ds.ConceptNameCodeSequence = Sequence([_code("18748-4", "LN", "Diagnostic Imaging Report")])
    text = Dataset()
    text.RelationshipType, text.ValueType, text.TextValue = "CONTAINS", "TEXT", findings
    text.ConceptNameCodeSequence = Sequence([_code("121071", "DCM", "Finding")])
    ds.ContentSequence = Sequence([text])
    written = BytesIO()
    ds.save_as(written, enforce_file_format=True)
    return written.getvalue()


def oru_payload() -> bytes:
    segments = [
        "MSH|^~\\&|CXRNODE|RADIOLOGY|RIS|HOSPITAL|20260801103000+0000||ORU^R01^ORU_R01|"
        f"{CONTROL_ID}|T|2.5.1||||||UNICODE UTF-8",
        "PID|1||CANARY-ID^^^HOSP^MR||CANARY^PHI||19600102|F",
        "ORC|RE|PLC123^RIS|FIL456^RIS",
        "OBR|1|PLC123^RIS|FIL456^RIS|36643-5^XR Chest 2 Views^LN|||20260801101500||||||||||||||||||P",
        "OBX|1|TX|59776-5^Procedure Findings^LN|1|Lungs clear. Größe unverändert.||||||P",
    ]
    return "".join(f"{segment}\r" for segment in segments).encode()


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def data_set_bytes(part_10: bytes) -> bytes:
    """What follows the preamble, the prefix and the file meta information (PS3.10 7.1)."""
    meta_length = dcmread(BytesIO(part_10)).file_meta.FileMetaInformationGroupLength
    return part_10[128 + 4 + 12 + meta_length :]


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def absent(what: str) -> NoReturn:
    """A peer is not there: skip at home, fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def require(*programs: str) -> None:
    missing = [each for each in programs if not shutil.which(each)]
    if missing:
        absent(f"not installed: {', '.join(missing)}")


@contextmanager
def _running(
    command: list[str | Path],
    ready_port: int,
    said: Path = Path(os.devnull),
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    words = [str(each) for each in command]
    with (
        said.open("w") as stdout,
        subprocess.Popen(words, stdout=stdout, stderr=subprocess.DEVNULL, env=environment) as process,
    ):
        try:
            wait_until(lambda: is_listening(ready_port), f"{command[0]} listens")
            yield
        finally:
            process.terminate()
            process.wait(LONG_S)


@contextmanager
def storescp(folder: Path, *options: str | Path) -> Iterator[int]:
    """DCMTK's storage SCP; gives its port."""
    require("storescp")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with _running(["storescp", "-q", "-od", folder, *options, str(port)], port):
        yield port


@contextmanager
def dcmqrscp(folder: Path, mover: int) -> Iterator[int]:
    """DCMTK's archive; gives its port. It is called QRPACS, and knows MOVESCU at the port `mover`."""
    require("dcmqrscp", "findscu", "getscu", "movescu")
    port, archive = free_port(), folder / "archive"
    archive.mkdir(parents=True)
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nmover = (MOVESCU, 127.0.0.1, {mover})\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQRPACS {archive} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with _running(["dcmqrscp", "--bit-preserving", "-c", configuration], port):
        yield port


# Relative folders are taken from the place of the configuration file.
_ORTHANC = {
    "StorageDirectory": "db",
    "IndexDirectory": "db",
    "RemoteAccessAllowed": False,
    "AuthenticationEnabled": False,
    "HttpBindAddresses": ["127.0.0.1"],
    "DicomAet": "TESTPACS",
    "DicomCheckCalledAet": True,
    "DicomAlwaysAllowStore": False,
    "DicomModalities": {"node": ["CXRNODE", "127.0.0.1", 11119]},
}


@contextmanager
def orthanc(folder: Path) -> Iterator[tuple[int, int]]:
    """Orthanc; gives its DICOM and HTTP ports. It is called TESTPACS and takes objects from CXRNODE only."""
    require("Orthanc")
    dicom, http = free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(_ORTHANC | {"DicomPort": dicom, "HttpPort": http}))
    with _running(["Orthanc", configuration], dicom):
        wait_until(lambda: is_listening(http), "Orthanc's REST listens")
        yield dicom, http


@contextmanager
def node_receivers(*options: str, said: Path = Path(os.devnull)) -> Iterator[tuple[int, int]]:
    """Two unrelated Node.js libraries; gives the ports of node-hl7-server and @medplum/hl7. said: what they hear."""
    copy = _node_peers()
    ports = free_port(), free_port()
    listen = ["--ports", f"{ports[0]},{ports[1]}", "--seconds", "0"]
    with _running(["node", copy / "receivers.cjs", *listen, *options], ports[1], said):
        yield ports


@contextmanager
def unescaping_receiver(said: Path) -> Iterator[int]:
    """A Node.js library that reads escapes; gives its port. said: a line for each message, before it is answered."""
    port = free_port()
    environment = {**os.environ, "NODE_PATH": str(_node_peers() / "node_modules")}
    program = Path(__file__).with_name("unescaping_receiver.cjs")
    with _running(["node", program, str(port)], port, said, environment):
        yield port


def node_senders(port: int) -> list[dict[str, object]]:
    """Send every sample by two unrelated Node.js libraries; gives what each was answered."""
    copy = _node_peers()
    samples = sorted((TOOLS / "hl7_peers" / "samples").glob("*.hl7"))
    command = ["node", copy / "senders.cjs", "--timeout", str(round(LONG_S * 1000)), str(port), *samples]
    done = subprocess.run(command, capture_output=True, check=False, timeout=240)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _node_peers() -> Path:
    """A copy of the tools' Node.js peers with the libraries that they need, in the versions that they pin."""
    require("node", "npm", "flock")
    source, copy = TOOLS / "hl7_peers", CACHE / "hl7_peers"
    if not source.is_dir():
        pytest.skip(f"not there: {source}")
    _install_node_peers(source, copy)
    return copy


def _install_node_peers(source: Path, copy: Path) -> None:
    copy.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "receivers.cjs", "senders.cjs"):
        shutil.copyfile(source / name, copy / name)
    if (copy / "node_modules" / ".package-lock.json").exists():
        return
    # several test processes may come here at once
    install = ["flock", str(CACHE), "npm", "install", "--silent", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=copy, capture_output=True, check=False, timeout=240)
    if done.returncode:
        absent("npm install failed: no registry in reach")


@contextmanager
def python_hl7_server() -> Iterator[tuple[int, list[str]]]:
    """The MLLP server of python-hl7; gives its port and the text of OBX-5 of what comes in."""
    texts: list[str] = []
    ports: list[int] = []
    is_up, loop, is_over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def answer(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        message = await reader.readmessage()
        texts.append(str(message.segment("OBX")(5)))
        writer.writemessage(message.create_ack())
        await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await hl7.mllp.start_hl7_server(answer, "127.0.0.1", 0, encoding="utf-8")
        ports.append(server.sockets[0].getsockname()[1])
        is_up.set()
        async with server:
            await is_over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    is_up.wait(LONG_S)
    yield ports[0], texts
    loop.call_soon_threadsafe(is_over.set)
    thread.join(LONG_S)
    loop.close()


@contextmanager
def raw_peer(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener that lets `talk` have each connection and closes it afterwards; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        talk(connection)
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LONG_S)


def make_certificates(folder: Path, authority: str = "Test CA") -> tuple[Tls, Tls]:
    """A throw-away authority and two certificates for 127.0.0.1: one for the server, one for the client."""
    require("openssl")
    folder.mkdir(parents=True, exist_ok=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    _openssl(folder, "req", "-x509", *curve, "-subj", f"/CN={authority}", "-keyout", "ca.key", "-out", "ca.pem")
    for who in ("server", "client"):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        plain = ["-addext", "basicConstraints=critical,CA:FALSE"]
        out = ["-keyout", f"{who}.key", "-out", f"{who}.pem"]
        _openssl(folder, "req", "-x509", *curve, "-subj", f"/CN={who}", *signed, *plain, *out)
    server, client = (
        Tls(certificate=folder / f"{who}.pem", key=folder / f"{who}.key", ca=folder / "ca.pem")
        for who in ("server", "client")
    )
    return server, client


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True, timeout=60)
