"""STOW-RS over a real socket: what is answered, and what is safe when it is."""

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from dicomweb_client import DICOMwebClient
from doubles import FrozenClock
from films import shared_data, shared_names
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from requests import Session
from rows import all_of, only
from sqlalchemy import Engine
from stored_files import unfinished_files
from stow_peer import (
    FAILED,
    OTHER,
    STORED,
    STUDIES,
    STUDY,
    TYPE,
    Answer,
    body_of,
    data_set_of,
    film,
    serving,
)

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.receive.intake import (
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    OUT_OF_RESOURCES,
    Receiver,
)
from dicom_node.storage import InstanceStore
from dicom_node.web import upload

NO_STUDY = {"transfer_syntax/HTJ2K_08_RGB.dcm", "transfer_syntax/JPEGLSNearLossless_16.dcm"}


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


@pytest.fixture
def port(settings: Settings, receiver: Receiver) -> Iterator[int]:
    with serving(settings, receiver) as port:
        yield port


def leftovers(receiver: Receiver) -> list[Path]:
    return unfinished_files(receiver.store.root)


def test_a_stored_instance_is_a_row_and_a_file_when_it_is_answered(settings: Settings, engine: Engine) -> None:
    receiver = Receiver(InstanceStore(settings.instances_dir), Sessions(engine), FrozenClock())
    sent = film()
    with serving(settings, receiver) as port:
        answer = Answer(port, body_of(sent))
        instance = only(receiver.sessions, Instance)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/dicom+json")
    assert answer[STORED] == [instance.sop_instance_uid]
    assert instance.calling_ae == "STOW-RS"
    assert data_set_of(receiver.store.open(instance.path).read_bytes()) == data_set_of(sent)


@pytest.mark.parametrize(
    "name", [name for name in shared_names("cxr_dicom", "transfer_syntax") if name not in NO_STUDY]
)
def test_published_films_are_kept_byte_for_byte(name: str, port: int, receiver: Receiver) -> None:
    part10 = shared_data(name).read_bytes()
    assert Answer(port, body_of(part10)).status == 200
    kept = receiver.store.open(only(receiver.sessions, Instance).path)
    assert data_set_of(kept.read_bytes()) == data_set_of(part10)
    assert dcmread(kept).file_meta.TransferSyntaxUID == dcmread(BytesIO(part10)).file_meta.TransferSyntaxUID


@pytest.mark.parametrize("name", shared_names("hostile"))
def test_a_hostile_file_is_answered(name: str, port: int, receiver: Receiver) -> None:
    assert Answer(port, body_of(shared_data(name).read_bytes())).status in (200, 409)
    assert leftovers(receiver) == []


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.name
)
@pytest.mark.parametrize("path", [STUDIES, f"{STUDIES}/{STUDY}"], ids=["any study", "the study"])
def test_other_encodings_are_taken(syntax: str, path: str, port: int, receiver: Receiver) -> None:
    sent = film(transfer_syntax=syntax)
    assert Answer(port, body_of(sent), path=path).status == 200
    instance = only(receiver.sessions, Instance)
    assert instance.transfer_syntax_uid == syntax
    assert data_set_of(receiver.store.open(instance.path).read_bytes()) == data_set_of(sent)


def test_several_parts_are_stored(port: int, receiver: Receiver) -> None:
    assert Answer(port, body_of(film("1.2.1"), film("1.2.2"), film("1.2.3")))[STORED] == ["1.2.1", "1.2.2", "1.2.3"]
    assert len(all_of(receiver.sessions, Instance)) == 3


def test_the_same_instance_again_is_stored_and_no_second_row(port: int, receiver: Receiver) -> None:
    assert [Answer(port, body_of(film(), film())).status, Answer(port, body_of(film())).status] == [200, 200]
    assert only(receiver.sessions, Instance).id


def test_good_parts_are_stored_beside_bad_ones_and_the_answer_tells_which(port: int, receiver: Receiver) -> None:
    parts = (film("1.2.1"), b"no DICOM", film("1.2.2", StudyInstanceUID=None), b"", film("1.2.3"))
    answer = Answer(port, body_of(*parts))
    assert answer.status == 202
    assert answer[STORED] == ["1.2.1", "1.2.3"]
    assert answer[FAILED] == [("1.2.2", DATA_SET_DOES_NOT_MATCH_SOP_CLASS)]
    assert answer[OTHER] == [CANNOT_UNDERSTAND, CANNOT_UNDERSTAND]
    assert leftovers(receiver) == []


def test_an_instance_goes_by_the_name_in_its_data_set(port: int, receiver: Receiver) -> None:
    """Editors and anonymisers leave that in the file meta information as it was."""
    renamed = film("1.2.9").replace(b"1.2.9", b"1.2.8", 1)
    assert Answer(port, body_of(renamed))[STORED] == ["1.2.9"]
    kept = dcmread(receiver.store.open(only(receiver.sessions, Instance).path))
    assert kept.file_meta.MediaStorageSOPInstanceUID == kept.SOPInstanceUID == "1.2.9"


@pytest.mark.parametrize(
    "part10",
    [
        film("CANARY"),
        film("1.2.3\0\1"),
        data_set_of(film()),
        film().replace(b"1.2.840.10008.1.2.1", b"1.2.840.CANARY.1.21", 1),
    ],
    ids=["no UID", "unprintable UID", "no meta", "no transfer syntax"],
)
def test_what_does_not_say_what_it_is_is_refused(part10: bytes, port: int) -> None:
    answer = Answer(port, body_of(part10))
    assert (answer.status, answer[OTHER]) == (409, [CANNOT_UNDERSTAND])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.name)
def test_what_belongs_to_another_study_is_not_stored(syntax: str, port: int, receiver: Receiver) -> None:
    sent = film("1.2.1", transfer_syntax=syntax)
    answer = Answer(port, body_of(sent), path=f"{STUDIES}/1.2.3.4")
    assert (answer.status, answer[FAILED]) == (409, [("1.2.1", DATA_SET_DOES_NOT_MATCH_SOP_CLASS)])
    assert all_of(receiver.sessions, Instance) == leftovers(receiver) == []
    assert (
        Answer(port, body_of(sent, film("1.2.5", StudyInstanceUID="1.2.3.4")), path=f"{STUDIES}/1.2.3.4").status == 202
    )


def test_a_deflate_bomb_for_a_named_study_is_refused_in_bounded_memory(port: int, receiver: Receiver) -> None:
    deflating = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces = [data_set_of(film("1.2.1")), *([bytes(1024 * 1024)] * 300)]
    bomb = b"".join(map(deflating.compress, pieces)) + deflating.flush()
    head = film("1.2.1", transfer_syntax=DeflatedExplicitVRLittleEndian)
    answer = Answer(port, body_of(head[: len(head) - len(data_set_of(head))] + bomb), path=f"{STUDIES}/{STUDY}")
    assert (answer.status, answer[FAILED]) == (409, [("1.2.1", CANNOT_UNDERSTAND)])


def test_the_answer_is_in_xml_for_who_asks_for_it(port: int) -> None:
    answer = Answer(port, body_of(film("1.2.1"), b"no DICOM"), Accept="application/dicom+xml")
    assert (answer.status, answer.headers["Content-Type"]) == (202, "application/dicom+xml")
    assert b'keyword="FailureReason"><Value number="1">49152</Value>' in answer.content


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "text/html"}, 406),
        ({"Content_Type": "application/dicom"}, 415),
        ({"Content_Type": TYPE.replace("application/dicom", "application/dicom+json")}, 415),
        ({"Content_Type": "multipart/related; boundary=x"}, 415),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Content_Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content_Type": 'multipart/related; type="application/dicom"; boundary="' + 71 * "x" + '"'}, 400),
        ({"path": f"{STUDIES}/CANARY"}, 400),
        ({"method": "PUT"}, 405),
        ({"path": "/dicom-web/series"}, 404),
        ({"path": "/docs", "method": "GET"}, 404),
        ({"X_Large": "x" * 20_000}, 400),
        ({"Content_Length": str(2**60)}, 503),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_its_body(
    headers: dict[str, str], status: int, port: int
) -> None:
    answer = Answer(port, **headers)
    assert answer.status == status
    assert b"CANARY" not in answer.content


@pytest.mark.parametrize("type_", ["type=application/dicom", 'TYPE="application/dicom"'])
def test_a_type_is_understood_as_senders_write_it(type_: str, port: int) -> None:
    assert Answer(port, body_of(film()), Content_Type=f"Multipart/Related;{type_};boundary=cut here").status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no multipart",
        b"--cut here--",
        body_of(film())[:-16],
        body_of(film())[:3000],
        b"--cut here\r\nX: " + b"y" * 10_000 + b"\r\n\r\n",
    ],
    ids=["empty", "other", "no part", "no last delimiter", "cut within a part", "huge part header"],
)
def test_a_body_that_is_no_multipart_is_refused(body: bytes, port: int, receiver: Receiver) -> None:
    assert Answer(port, body).status == 400
    assert all_of(receiver.sessions, Instance) == leftovers(receiver) == []


def test_what_was_received_whole_stays_stored_when_the_rest_is_cut_off(port: int, receiver: Receiver) -> None:
    answer = Answer(port, body_of(film("1.2.1"), film("1.2.2"))[:-1000])
    assert (answer.status, answer[STORED], answer[OTHER]) == (202, ["1.2.1"], [CANNOT_UNDERSTAND])
    assert only(receiver.sessions, Instance).sop_instance_uid == "1.2.1"
    assert leftovers(receiver) == []


def test_more_parts_than_a_request_may_have_are_told_so(
    port: int, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "MOST_PARTS", 1)
    assert Answer(port, body_of(b"no DICOM", film())).status == 413
    answer = Answer(port, body_of(film("1.2.1"), film("1.2.2")))
    assert (answer.status, answer[STORED], answer[OTHER]) == (202, ["1.2.1"], [OUT_OF_RESOURCES])


def test_nothing_of_a_request_is_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    Answer(port, body_of(film("1.2.3.4.5")), path=f"{STUDIES}/{STUDY}")
    Answer(port, body_of(film("1.2.3.4.5")), path=f"{STUDIES}/9.9.9.9")
    assert "object_refused" in caplog.text
    assert not [word for word in ("1.2.3.4.5", STUDY, "9.9.9.9", "dicom-web/studies") if word in caplog.text]


def test_a_client_that_nobody_here_wrote_stores(port: int, receiver: Receiver) -> None:
    with Session() as session:
        client = DICOMwebClient(f"http://127.0.0.1:{port}/dicom-web", session=session)
        answer = client.store_instances([dcmread(BytesIO(film("1.2.1"))), dcmread(BytesIO(film("1.2.2")))], STUDY)
        session.headers["Accept"] = "application/dicom+xml"
        in_xml = client.store_instances([dcmread(BytesIO(film("1.2.1")))])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.2.1", "1.2.2"]
    assert in_xml.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.1"
    assert len(all_of(receiver.sessions, Instance)) == 2
