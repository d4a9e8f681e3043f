"""Statements that go to the driver directly, on both databases."""

from typing import cast

import pytest
from doubles import NOON
from rows import only
from sqlalchemy import String, Table, bindparam, insert, inspect, literal_column, select, update
from sqlalchemy.exc import OperationalError

from dicom_node.database import Sessions
from dicom_node.models import Study
from dicom_node.prepared import Prepared

STUDY = cast(Table, inspect(Study).local_table)
ADD = Prepared(lambda _: insert(STUDY).returning(STUDY.c.id))
RENEW = Prepared(lambda _: update(STUDY).values(last_received_at=bindparam("now")))
VALUES = {
    "study_instance_uid": "1.2", "state": "receiving", "accession_number": "", "patient_id": "",
    "issuer_of_patient_id": "", "patient_name_folded": "", "last_received_at": NOON, "created_at": NOON,
}  # fmt: skip


def test_values_go_in_as_their_columns_keep_them(sessions: Sessions) -> None:
    with sessions.transaction() as connection:
        ((study_id,),) = ADD.run(connection, VALUES)
    study = only(sessions, Study)
    assert (study.id, study.created_at, study.images_removed_at) == (study_id, NOON, None)


def test_values_are_bound_by_name(sessions: Sessions) -> None:
    first, second = (bindparam(name, type_=String) for name in ("first", "second"))
    two = Prepared(lambda _: select(first, literal_column("7"), second))
    with sessions.transaction() as connection:
        assert two.run(connection, {"second": "b", "first": "a"}) == [("a", 7, "b")]


def test_a_statement_without_rows_gives_none(sessions: Sessions) -> None:
    with sessions.transaction() as connection:
        assert not RENEW.run(connection, {"now": NOON})


def test_what_the_driver_raises_is_raised_as_sqlalchemy_does(sessions: Sessions) -> None:
    with sessions.transaction() as connection:
        ADD.run(connection, VALUES)
    with pytest.raises(OperationalError) as caught, sessions.transaction() as connection:
        ADD.run(connection, VALUES)
    assert caught.value.params is None  # no values
    assert only(sessions, Study).id
