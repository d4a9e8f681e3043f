"""Storage commitment over real sockets: what is asked is kept, and what is told is true of the disk."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from authority import Authority
from commitment_node import NEVER_CAME, PLACE, Node, flip_last_byte, knowing, running, store_film
from doubles import NOON
from modality import Modality, Pair, ask, committed, failed, request
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import encode
from rows import all_of, moves_of
from sqlalchemy import Engine
from test_scp import DX, away
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.models import Commitment, Instance
from dicom_node.peers import Peer
from dicom_node.receive import commitment_result
from dicom_node.receive.commitment import (
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_ACTION,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
)
from dicom_node.receive.commitment_result import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT_INSTANCE,
    PROCESSING_FAILURE,
)
from dicom_node.receive.normalized import NO_SUCH_SOP_INSTANCE, RESOURCE_LIMITATION, SUCCESS
from dicom_node.tls import server_context


@pytest.fixture
def node(settings: Settings, engine: Engine) -> Iterator[Node]:
    with running(settings, engine) as node:
        yield node


@pytest.fixture
def sqlite_node(settings: Settings, sqlite_engine: Engine) -> Iterator[Node]:
    with running(settings, sqlite_engine) as node:
        yield node


@pytest.fixture
def modality() -> Modality:
    return Modality()


# The request


def test_a_request_is_a_row_when_it_is_answered(
    node: Node, modality: Modality, caplog: pytest.LogCaptureFixture
) -> None:
    assert modality.ask(node.port, (DX, "1.2.1"), NEVER_CAME) == SUCCESS
    row = node.row()
    assert (row.transaction_uid, row.calling_ae, row.state, row.due_at) == ("1.2.3", "MODALITY", "pending", NOON)
    assert json.loads(row.requested) == [[DX, "1.2.1"], [DX, "1.2.9999"]]
    assert "commitment_asked" in caplog.text


def test_the_same_request_again_is_success_and_no_second_row(node: Node, modality: Modality) -> None:
    assert [modality.ask(node.port, NEVER_CAME) for _ in range(2)] == [SUCCESS, SUCCESS]
    assert node.row().state == "pending"


def test_the_transaction_of_another_sender_is_another_one(node: Node, modality: Modality) -> None:
    assert [each.ask(node.port, NEVER_CAME) for each in (modality, Modality("OTHER"))] == [SUCCESS, SUCCESS]
    assert [row.calling_ae for row in all_of(node.receiver.sessions, Commitment)] == ["MODALITY", "OTHER"]


def test_a_transaction_is_not_used_for_other_objects(node: Node, modality: Modality) -> None:
    modality.ask(node.port, NEVER_CAME)
    assert modality.ask(node.port, (DX, "1.2.1")) == INVALID_ARGUMENT_VALUE
    assert json.loads(node.row().requested) == [list(NEVER_CAME)]


@pytest.mark.parametrize(
    ("pairs", "transaction"),
    [
        ([NEVER_CAME], None),
        ([NEVER_CAME], ""),
        ([NEVER_CAME], "CANARY^PHI"),
        ([NEVER_CAME], "1." * 33),
        ([], "1.2.3"),
        ([("", "1.2.1")], "1.2.3"),
        ([(DX, "")], "1.2.3"),
        ([NEVER_CAME, (DX, "CANARY^PHI")], "1.2.3"),
    ],
)  # fmt: skip
def test_a_request_that_lacks_something_is_refused(
    pairs: list[Pair], transaction: str | None, sqlite_node: Node, modality: Modality
) -> None:
    with modality.associated(sqlite_node.port) as assoc:
        assert ask(assoc, request(pairs, transaction)) == INVALID_ARGUMENT_VALUE
        assert ask(assoc, request([NEVER_CAME])) == SUCCESS
    assert sqlite_node.row().id


def test_another_action_or_another_instance_is_refused(sqlite_node: Node, modality: Modality) -> None:
    with modality.associated(sqlite_node.port) as assoc:
        assert ask(assoc, request([NEVER_CAME]), action=2) == NO_SUCH_ACTION
        assert ask(assoc, request([NEVER_CAME]), instance="1.2.3") == NO_SUCH_SOP_INSTANCE
        assert ask(assoc, None) == INVALID_ARGUMENT_VALUE
    assert all_of(sqlite_node.receiver.sessions, Commitment) == []


@pytest.mark.parametrize("cut", [1, 7, 9, 30, 60])
def test_a_request_that_is_no_data_set_is_refused(cut: int, sqlite_node: Node, modality: Modality) -> None:
    encoded = encode(request([NEVER_CAME]), is_implicit_vr=False, is_little_endian=True) or b""
    with modality.associated(sqlite_node.port) as assoc:
        assert _ask_raw(assoc, encoded[:cut]) in (INVALID_ARGUMENT_VALUE, PROCESSING_FAILURE)
        assert _ask_raw(assoc, b"CANARY^PHI" * 20) in (INVALID_ARGUMENT_VALUE, PROCESSING_FAILURE)
    assert all_of(sqlite_node.receiver.sessions, Commitment) == []


def test_a_sender_that_may_not_come_in_asks_for_nothing(
    settings: Settings, sqlite_engine: Engine, modality: Modality
) -> None:
    strict = settings.model_copy(update={"peers": {"OTHER": Peer()}})
    with running(strict, sqlite_engine) as node, modality.associated(node.port) as assoc:
        assert assoc.is_rejected
    assert all_of(node.receiver.sessions, Commitment) == []


def test_a_request_that_cannot_be_kept_is_refused_until_it_can(node: Node, engine: Engine, modality: Modality) -> None:
    with away(engine):
        assert modality.ask(node.port, NEVER_CAME) == RESOURCE_LIMITATION
    assert modality.ask(node.port, NEVER_CAME) == SUCCESS
    assert node.row().id


# The result


@pytest.mark.parametrize("receive_path", ["fast", "plain"])
def test_what_is_on_the_disk_is_committed_on_the_association_that_asked(
    receive_path: str, settings: Settings, engine: Engine, modality: Modality, caplog: pytest.LogCaptureFixture
) -> None:
    with running(settings.model_copy(update={"receive_path": receive_path}), engine) as node:
        films = node.holds(modality, 1, 2)
        with modality.associated(node.port) as assoc:
            assert ask(assoc, request(films)) == SUCCESS
            assert node.tell()
            ((event_type, result),) = modality.results
            assert assoc.is_established
        row = node.row()
    assert (event_type, result.TransactionUID, committed(result), failed(result)) == (1, "1.2.3", set(films), {})
    assert (row.state, row.reason, row.failures) == ("delivered", "all 2 committed", "[]")
    assert moves_of(node.receiver.sessions, "commitment") == [
        ("", "pending"),
        ("pending", "sending"),
        ("sending", "delivered"),
    ]
    assert all(each.sha256 for each in all_of(node.receiver.sessions, Instance))
    assert "commitment_told" in caplog.text


def test_who_has_hung_up_is_told_on_a_new_association(settings: Settings, engine: Engine, modality: Modality) -> None:
    with modality.listening() as listens_at, running(knowing(settings, listens_at), engine) as node:
        films = node.holds(modality, 1)
        assert modality.ask(node.port, *films) == SUCCESS
        assert node.tell()
    ((event_type, result),) = modality.results
    assert (event_type, committed(result)) == (1, set(films))
    assert node.row().state == "delivered"


def test_who_answers_no_role_selection_is_told_all_the_same(
    settings: Settings, sqlite_engine: Engine, modality: Modality
) -> None:
    with modality.listening(with_roles=False) as port, running(knowing(settings, port), sqlite_engine) as node:
        modality.ask(node.port, NEVER_CAME)
        node.tell()
    assert [event_type for event_type, _ in modality.results] == [2]


def test_a_result_goes_over_tls_where_the_settings_say_so(
    tmp_path: Path, settings: Settings, sqlite_engine: Engine, modality: Modality
) -> None:
    authority = Authority(tmp_path / "authority")
    theirs, ours = authority.issue("modality"), authority.issue("node")
    with (
        modality.listening(tls=server_context(theirs)) as port,
        running(knowing(settings, port, tls=ours), sqlite_engine) as node,
    ):
        modality.ask(node.port, NEVER_CAME)
        node.tell()
    assert [event_type for event_type, _ in modality.results] == [2]


def test_what_is_not_there_as_it_came_is_told_with_its_reason(
    node: Node, modality: Modality, caplog: pytest.LogCaptureFixture
) -> None:
    whole, changed, cut, gone = films = node.holds(modality, 1, 2, 3, 4)
    with modality.associated(node.port) as assoc:
        ask(assoc, request(films, "1.2.4"))
        node.tell()
        flip_last_byte(node.file(changed))
        cut_file = node.file(cut)
        cut_file.write_bytes(cut_file.read_bytes()[:-1])
        node.file(gone).unlink()
        conflicting = (PLACE, whole[1])
        ask(assoc, request([*films, NEVER_CAME, conflicting], "1.2.5"))
        node.tell()
    event_type, result = modality.results[-1]
    assert (event_type, result.TransactionUID, committed(result)) == (2, "1.2.5", {whole})
    assert failed(result) == {
        changed: PROCESSING_FAILURE,
        cut: PROCESSING_FAILURE,
        gone: NO_SUCH_OBJECT_INSTANCE,
        NEVER_CAME: NO_SUCH_OBJECT_INSTANCE,
        conflicting: CLASS_INSTANCE_CONFLICT,
    }
    row = all_of(node.receiver.sessions, Commitment)[-1]
    assert (row.state, row.reason) == ("delivered", "1 of 6 committed; not: 2 × 0110, 2 × 0112, 1 × 0119")
    assert [reason for _, _, reason in json.loads(row.failures)].count(PROCESSING_FAILURE) == 2
    assert caplog.text.count("instance_damaged") == 3


def test_a_file_that_lost_most_of_itself_is_found_out_without_a_digest(sqlite_node: Node, modality: Modality) -> None:
    (film,) = sqlite_node.holds(modality, 1)
    sqlite_node.file(film).write_bytes(b"")
    with modality.associated(sqlite_node.port) as assoc:
        ask(assoc, request([film]))
        sqlite_node.tell()
    assert failed(modality.results[0][1]) == {film: PROCESSING_FAILURE}


def test_of_two_variants_both_must_be_there(sqlite_node: Node, modality: Modality) -> None:
    with modality.associated(sqlite_node.port, DX, STORAGE_COMMITMENT) as assoc:
        film = store_film(assoc, 1)
        store_film(assoc, 1, ViewPosition="AP")
        second = all_of(sqlite_node.receiver.sessions, Instance)[1]
        ask(assoc, request([film], "1.2.4"))
        sqlite_node.tell()
        sqlite_node.receiver.store.open(second.path).unlink()
        ask(assoc, request([film], "1.2.5"))
        sqlite_node.tell()
    (_, good), (_, bad) = modality.results
    assert (committed(good), failed(bad)) == ({film}, {film: NO_SUCH_OBJECT_INSTANCE})


def test_nothing_is_told_while_the_folder_is_away(sqlite_node: Node, modality: Modality) -> None:
    (film,) = sqlite_node.holds(modality, 1)
    folder = sqlite_node.file(film).parent
    with modality.associated(sqlite_node.port) as assoc:
        ask(assoc, request([film]))
        folder.rename(folder.with_name("away"))
        assert sqlite_node.tell()
        assert (sqlite_node.row().state, modality.results) == ("pending", [])
        folder.with_name("away").rename(folder)
        sqlite_node.clock.forward(3600)
        assert sqlite_node.tell()
    assert committed(modality.results[0][1]) == {film}


def test_uids_that_are_not_quite_valid_are_told_as_they_were_asked_for(sqlite_node: Node, modality: Modality) -> None:
    odd: Pair = ("1.2.03", "1.2.004")
    with modality.associated(sqlite_node.port) as assoc:
        assert ask(assoc, request([odd], "1.02.3")) == SUCCESS
        sqlite_node.tell()
    ((_, result),) = modality.results
    assert (result.TransactionUID, failed(result)) == ("1.02.3", {odd: NO_SUCH_OBJECT_INSTANCE})


def test_many_objects_are_looked_up_in_parts(sqlite_node: Node, modality: Modality) -> None:
    film = sqlite_node.holds(modality, 1)[0]
    others = [(DX, f"1.2.77.{number}") for number in range(commitment_result._BATCH + 10)]
    with modality.associated(sqlite_node.port) as assoc:
        ask(assoc, request([*others, film]))
        sqlite_node.tell()
    ((_, result),) = modality.results
    assert (committed(result), set(failed(result))) == ({film}, set(others))


def _ask_raw(assoc: Association, information: bytes) -> int:
    """N-ACTION with any bytes as its Action Information."""
    action = N_ACTION()
    action.MessageID, action.ActionTypeID = 1, 1
    action.RequestedSOPClassUID, action.RequestedSOPInstanceUID = STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
    action.ActionInformation = BytesIO(information)
    assoc._reactor_checkpoint.clear()  # as pynetdicom's send_n_action: or its thread takes the answer
    wait_until(lambda: assoc._is_paused, "the association's thread pauses")
    assoc.dimse.send_msg(action, assoc.accepted_contexts[0].context_id)
    _, response = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    return int(response.Status)
