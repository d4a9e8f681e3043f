"""The simulated peers as programs, and their folders."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hl7
import pytest
from delivery_peers import CONTROL_ID, SOP_INSTANCE_UID, oru_payload, sr_payload
from pydicom import dcmread
from pynetdicom import AE, build_context
from waiting import LONG_S

from dicom_node.peers import DicomDestination, MllpDestination
from integration.destinations import Outcome
from integration.framing import Deframer
from integration.mllp import MllpSender
from integration.simulators.inbox import Inbox, read_receipts
from integration.simulators.pacs import LoopbackPacs, PacsFault
from integration.simulators.ris import FAULTS, acknowledge
from integration.store_scu import StoreScu


@contextmanager
def program(module: str, *options: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A simulator as a process; gives its port. It must end well, soon after SIGTERM, and say nothing else."""
    command = [sys.executable, "-m", f"integration.simulators.{module}", "--port", "0", *options]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **streams) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:")
            yield int(line.rsplit(":", 1)[1]), process
        finally:
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=LONG_S)
    assert (process.returncode, rest) == (0, "")


def test_pacs_program_takes_a_report_and_an_echo(tmp_path: Path) -> None:
    with program("pacs", "--dir", str(tmp_path), "--ae-title", "DEMO") as (port, _):
        to = DicomDestination(name="pacs", ae_title="DEMO", host="127.0.0.1", port=port)
        ack = StoreScu(to, "CXRNODE").send(sr_payload())
        echo = _echo(port)

    assert (ack.outcome, echo) == (Outcome.DELIVERED, 0x0000)
    assert dcmread(tmp_path / f"{SOP_INSTANCE_UID}.dcm").PatientName == "CANARY^PHI"
    assert [each.identifier for each in read_receipts(tmp_path)] == [SOP_INSTANCE_UID]


def test_ris_program_takes_a_message(tmp_path: Path) -> None:
    with program("ris", "--dir", str(tmp_path)) as (port, _):
        ack = MllpSender(MllpDestination(name="ris", host="127.0.0.1", port=port)).send(oru_payload())

    assert ack.outcome is Outcome.DELIVERED
    assert (tmp_path / f"{CONTROL_ID}.hl7").read_bytes() == oru_payload()
    assert [each.identifier for each in read_receipts(tmp_path)] == [CONTROL_ID]


def test_ris_program_ends_although_a_caller_stays(tmp_path: Path) -> None:
    with (
        program("ris", "--dir", str(tmp_path)) as (port, process),
        socket.create_connection(("127.0.0.1", port), timeout=LONG_S),
    ):
        process.send_signal(signal.SIGTERM)
        process.wait(LONG_S / 2)


@pytest.mark.parametrize("fault", [PacsFault(abort=True), PacsFault(status=0xB000)])
def test_pacs_keeps_the_object_before_it_fails(fault: PacsFault, tmp_path: Path) -> None:
    _store(tmp_path, fault)

    assert (tmp_path / f"{SOP_INSTANCE_UID}.dcm").exists()


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0110])
def test_pacs_that_fails_notes_the_receipt_and_keeps_nothing(status: int, tmp_path: Path) -> None:
    _store(tmp_path, PacsFault(status=status))

    assert not (tmp_path / f"{SOP_INSTANCE_UID}.dcm").exists()
    assert len(read_receipts(tmp_path)) == 1


def test_acknowledgement_swaps_the_parties_and_names_the_message() -> None:
    (answer,) = Deframer().feed(acknowledge(oru_payload(), code="AE", error="101"))

    message = hl7.parse(answer.decode())
    msh = message.segment("MSH")
    assert [str(msh(n)) for n in (3, 4, 5, 6, 9, 11, 12)] == [
        "RIS", "HOSPITAL", "CXRNODE", "RADIOLOGY", "ACK^R01^ACK", "T", "2.5.1",
    ]  # fmt: skip
    assert [str(message.segment("MSA")(n)) for n in (1, 2)] == ["AE", CONTROL_ID]
    assert [str(message.segment("ERR")(n)) for n in (3, 4)] == ["101", "E"]


@pytest.mark.parametrize("fault", ["AE", "AR", "rubbish", "another", "silence"])
def test_each_fault_of_the_ris_answers_something_else(fault: str) -> None:
    assert FAULTS[fault](oru_payload()) != acknowledge(oru_payload())


@pytest.mark.parametrize("identifier", ["../../etc/passwd", "", ".", "..", ".hidden", "a/b", "x" * 200, "a\x00b", "é"])
def test_identifier_that_is_no_file_name_stays_in_the_folder(identifier: str, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, ".hl7")

    inbox.keep(identifier, b"content")

    assert [each.parent for each in tmp_path.rglob("*.hl7")] == [tmp_path]
    assert inbox.path(identifier).read_bytes() == b"content"


def test_journal_grows_by_one_line_for_each_receipt(tmp_path: Path) -> None:
    Inbox(tmp_path, ".dcm").note("1.2", b"one")
    Inbox(tmp_path, ".dcm").note("1.2", b"two")  # as after a restart

    lines = (tmp_path / "received.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"identifier", "sha256", "received_at"}] * 2


def test_waiting_for_receipts_ends(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, ".dcm")
    assert not inbox.wait_for(1, timeout_s=0.01)
    inbox.note("1.2", b"one")

    assert inbox.wait_for(1, timeout_s=0)


def _store(folder: Path, fault: PacsFault) -> None:
    with LoopbackPacs(folder) as pacs:
        pacs.fault = fault
        to = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs.port)
        StoreScu(to, "CXRNODE").send(sr_payload())


def _echo(port: int) -> int:
    ae = AE()
    assoc = ae.associate("127.0.0.1", port, contexts=[build_context("1.2.840.10008.1.1")])
    status = assoc.send_c_echo().Status
    assoc.release()
    return int(status)
