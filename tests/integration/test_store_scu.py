import json
import urllib.request
from pathlib import Path

import pytest
from authority import Authority, replace
from delivery_peers import SHORT_S, SOP_INSTANCE_UID, data_set_bytes, make_certificates, orthanc, sr_payload, storescp
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, build_context
from waiting import LONG_S

from dicom_node.peers import DicomDestination, Tls
from integration.destinations import NOT_SENT, Outcome
from integration.simulators.inbox import read_receipts
from integration.simulators.pacs import LoopbackPacs, PacsFault
from integration.store_scu import StoreScu, judge_status

DELIVERED, RETRY, REJECTED = Outcome.DELIVERED, Outcome.RETRY, Outcome.REJECTED

# Every row of the table in PS3.4 B.2.3 and PS3.7 annex C, and the ends of each range.
STATUSES = [
    (0x0000, DELIVERED),
    (0x0001, DELIVERED),
    (0x0105, REJECTED),
    (0x0106, REJECTED),
    (0x0107, DELIVERED),
    (0x0110, RETRY),
    (0x0111, DELIVERED),
    (0x0112, REJECTED),
    (0x0115, REJECTED),
    (0x0116, DELIVERED),
    (0x0117, REJECTED),
    (0x0118, REJECTED),
    (0x0119, REJECTED),
    (0x0120, REJECTED),
    (0x0121, REJECTED),
    (0x0122, REJECTED),
    (0x0124, REJECTED),
    (0x0210, REJECTED),
    (0x0211, REJECTED),
    (0x0212, REJECTED),
    (0x0213, RETRY),
    (0xA6FF, REJECTED),
    (0xA700, RETRY),
    (0xA701, RETRY),
    (0xA7FF, RETRY),
    (0xA800, REJECTED),
    (0xA900, REJECTED),
    (0xA9FF, REJECTED),
    (0xAA00, REJECTED),
    (0xB000, DELIVERED),
    (0xB006, DELIVERED),
    (0xB007, DELIVERED),
    (0xBFFF, DELIVERED),
    (0xC000, REJECTED),
    (0xC123, REJECTED),
    (0xCFFF, REJECTED),
    (0xD000, REJECTED),
    (0xFE00, REJECTED),
    (0xFF00, REJECTED),
]
# Statuses that a real association carries; pynetdicom's own SCP turns unknown ones into others.
ON_THE_WIRE = [0x0000, 0x0110, 0x0111, 0x0122, 0x0124, 0xA700, 0xA900, 0xB000, 0xB006, 0xB007, 0xC000]


def destination(port: int, *, ae_title: str = "PACS", timeout_s: float = LONG_S, tls: Tls | None = None) -> StoreScu:
    to = DicomDestination(name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=timeout_s, tls=tls)
    return StoreScu(to, "CXRNODE")


@pytest.mark.parametrize(("status", "outcome"), STATUSES, ids=lambda each: f"{each:04X}" if type(each) is int else each)
def test_status_decides_what_becomes_of_the_delivery(status: int, outcome: Outcome) -> None:
    assert judge_status(status)[0] is outcome


@pytest.mark.parametrize("status", ON_THE_WIRE, ids=lambda status: f"{status:04X}")
def test_status_of_a_pacs_arrives_as_code_and_words(status: int, tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path) as pacs:
        pacs.fault = PacsFault(status=status)
        ack = destination(pacs.port).send(sr_payload())

    assert (ack.outcome, ack.code) == (judge_status(status)[0], f"{status:04X}")
    assert ack.reason == f"PACS {judge_status(status)[1]} (status {status:04X})."


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_warning_is_told_in_the_reason(status: int) -> None:
    assert "warning" in judge_status(status)[1]


# PS3.8 9.3.4: result, source, reason
@pytest.mark.parametrize(
    ("rejection", "words"),
    [
        ((1, 1, 1), "rejected permanent, no reason given"),
        ((1, 1, 3), "calling ae title not recognised"),
        ((1, 1, 7), "called ae title not recognised"),
        ((2, 3, 1), "rejected transient, temporary congestion"),
        ((2, 3, 2), "local limit exceeded"),
    ],
)
def test_rejected_association_is_retried_and_says_why(
    rejection: tuple[int, int, int], words: str, tmp_path: Path
) -> None:
    with LoopbackPacs(tmp_path) as pacs:
        pacs.fault = PacsFault(rejection=rejection)
        ack = destination(pacs.port).send(sr_payload())

    assert ack.outcome is RETRY
    assert words in ack.reason


@pytest.fixture
def _strict_acceptor(monkeypatch: pytest.MonkeyPatch) -> None:
    # The node's own listener sets this for the whole process; here the accepting end must be choosy.
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)


@pytest.mark.usefixtures("_strict_acceptor")
def test_pacs_that_takes_no_structured_reports_rejects(tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path, contexts=[build_context("1.2.840.10008.1.1")]) as pacs:
        ack = destination(pacs.port).send(sr_payload())

    assert (ack.outcome, ack.code, ack.reason) == (REJECTED, NOT_SENT, "PACS accepts no objects of this kind.")


@pytest.mark.usefixtures("_strict_acceptor")
def test_pacs_of_implicit_vr_gets_the_same_text_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path, contexts=[build_context(BasicTextSRStorage, ImplicitVRLittleEndian)]) as pacs:
        acks = [destination(pacs.port).send(sr_payload()) for _ in range(2)]

    received = dcmread(tmp_path / f"{SOP_INSTANCE_UID}.dcm")
    assert [ack.outcome for ack in acks] == [DELIVERED] * 2
    assert received.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert received.ContentSequence[0].TextValue == "Lungs clear. Größe unverändert."
    assert len({each.sha256 for each in read_receipts(tmp_path)}) == 1


def test_pacs_of_both_syntaxes_gets_the_bytes_we_hold(tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path) as pacs:
        destination(pacs.port).send(sr_payload())

    received = tmp_path / f"{SOP_INSTANCE_UID}.dcm"
    assert dcmread(received).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert data_set_bytes(received.read_bytes()) == data_set_bytes(sr_payload())


def test_unknown_host_is_retried() -> None:
    to = DicomDestination(name="pacs", ae_title="PACS", host="pacs.invalid", timeout_s=LONG_S)

    ack = StoreScu(to, "CXRNODE").send(sr_payload())

    assert ack.outcome is RETRY
    assert "host name" in ack.reason


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tls, Tls]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_delivers_over_tls(certificates: tuple[Tls, Tls], tmp_path: Path) -> None:
    server, client = certificates
    with LoopbackPacs(tmp_path, tls=server) as pacs:
        assert destination(pacs.port, tls=client).send(sr_payload()).outcome is DELIVERED


def test_pacs_with_a_certificate_of_strangers_gets_nothing(certificates: tuple[Tls, Tls], tmp_path: Path) -> None:
    stranger, _ = make_certificates(tmp_path / "strangers", "Another CA")
    with LoopbackPacs(tmp_path / "pacs", tls=stranger) as pacs:
        ack = destination(pacs.port, tls=certificates[1]).send(sr_payload())

    assert ack.outcome is RETRY
    assert "TLS" in ack.reason
    assert read_receipts(tmp_path / "pacs") == []


def test_renewed_certificates_are_shown_from_the_next_object_on(tmp_path: Path) -> None:
    authority, new_authority = Authority(tmp_path / "own"), Authority(tmp_path / "new", "New CA")
    own = authority.issue("node")
    with LoopbackPacs(tmp_path / "pacs", tls=new_authority.issue("pacs")) as pacs:
        to = destination(pacs.port, tls=own)
        assert to.send(sr_payload()).outcome is RETRY
        replace(own, new_authority.issue("node"))
        assert to.send(sr_payload()).outcome is DELIVERED
        own.key.write_text("")
        ack = to.send(sr_payload())
    assert (ack.outcome, "this node's certificates make no TLS (" in ack.reason) == (RETRY, True)


def test_tls_to_a_pacs_without_tls_is_retried(certificates: tuple[Tls, Tls], tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path) as pacs:
        ack = destination(pacs.port, tls=certificates[1], timeout_s=SHORT_S).send(sr_payload())

    assert ack.outcome is RETRY


def test_dcmtk_stores_the_bytes_we_hold(tmp_path: Path) -> None:
    with storescp(tmp_path, "-B") as port:  # -B: bit preserving
        acks = [destination(port).send(sr_payload()) for _ in range(2)]

    (stored,) = tmp_path.iterdir()
    assert [ack.code for ack in acks] == ["0000", "0000"]
    assert data_set_bytes(stored.read_bytes()) == data_set_bytes(sr_payload())


def test_dcmtk_of_implicit_vr_stores_the_text(tmp_path: Path) -> None:
    with storescp(tmp_path, "-B", "+xi") as port:
        ack = destination(port).send(sr_payload())

    (stored,) = tmp_path.iterdir()
    assert ack.outcome is DELIVERED
    assert dcmread(stored).ContentSequence[0].TextValue == "Lungs clear. Größe unverändert."


@pytest.mark.parametrize("option", ["--refuse", "--abort-after", "--abort-during"])
def test_dcmtk_that_refuses_or_aborts_is_retried(option: str, tmp_path: Path) -> None:
    with storescp(tmp_path, option) as port:
        ack = destination(port).send(sr_payload())

    assert ack.outcome is RETRY
    assert ack.code in ("", NOT_SENT)


def test_dcmtk_that_hangs_is_retried(tmp_path: Path) -> None:
    with storescp(tmp_path, "--sleep-during", "3") as port:
        assert destination(port, timeout_s=SHORT_S).send(sr_payload()).outcome is RETRY


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])  # BCP 195: non-downgrading, plain, extended
def test_dcmtk_takes_it_over_tls(profile: str, certificates: tuple[Tls, Tls], tmp_path: Path) -> None:
    server, client = certificates
    with storescp(tmp_path, profile, "+tls", server.key, server.certificate, "+cf", server.ca) as port:
        assert destination(port, tls=client).send(sr_payload()).outcome is DELIVERED


def test_orthanc_stores_and_shows_the_report(tmp_path: Path) -> None:
    with orthanc(tmp_path) as (dicom, http):
        acks = [destination(dicom, ae_title="TESTPACS").send(sr_payload()) for _ in range(2)]
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": SOP_INSTANCE_UID}, "Expand": True}
        (found,) = _ask(http, "/tools/find", query)

    assert [ack.outcome for ack in acks] == [DELIVERED] * 2
    assert found["MainDicomTags"]["SOPInstanceUID"] == SOP_INSTANCE_UID


def test_orthanc_under_another_title_rejects_and_is_retried(tmp_path: Path) -> None:
    with orthanc(tmp_path) as (dicom, _):
        ack = destination(dicom, ae_title="WRONG").send(sr_payload())

    assert ack.outcome is RETRY
    assert "called ae title not recognised" in ack.reason


def _ask(http: int, path: str, body: object) -> list[dict[str, dict[str, str]]]:
    request = urllib.request.Request(f"http://127.0.0.1:{http}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=LONG_S) as response:
        return list(json.load(response))
