"""What has been received, as rows."""

from datetime import timedelta
from pathlib import Path

import pytest
from doubles import NOON
from films import dx_bytes
from rows import add_job, all_of, moves_of, only, receive
from sqlmodel import select
from waiting import in_threads

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.lifecycle import advance
from dicom_node.models import Instance, Series, Study
from dicom_node.receive.catalog import RADIOGRAPH_SOP_CLASSES, registered_paths
from dicom_node.states import StudyState
from dicom_node.storage import InstanceStore
from dicom_node.uids import derive_uid

LATER = NOON + timedelta(seconds=90)
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
OTHER_UID = str(derive_uid("another", "instance"))


def complete(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = session.exec(select(Study)).one()
        advance(session, study, StudyState.COMPLETE, now=NOON)


def test_the_first_instance_makes_study_series_and_instance(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
    study, series, instance = (only(sessions, model) for model in (Study, Series, Instance))
    assert (study.state, study.last_received_at, study.created_at) == ("receiving", NOON, NOON)
    assert (series.study_id, series.modality) == (study.id, "DX")
    assert instance.series_id == series.id
    assert (instance.body_part, instance.view, instance.calling_ae) == ("CHEST", "PA", "MODALITY")
    assert (instance.has_pixels, instance.received_at) == (True, NOON)
    assert moves_of(sessions, "study") == [("", "receiving")]


def test_the_rows_hold_no_name_and_the_patient_id_but_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
    assert "PHI" not in str(only(sessions, Study).model_dump())
    for model in (Series, Instance):
        assert "CANARY" not in str(only(sessions, model).model_dump())
    assert len(only(sessions, Instance).patient_key) == 64


def test_a_study_begins_with_what_its_first_object_says_of_order_and_patient(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session, AccessionNumber=" ACC  1 ", PatientID="P1", IssuerOfPatientID="HOSP")
        receive(session, SOPInstanceUID=OTHER_UID, AccessionNumber="ACC2", PatientID="P2")
    study = only(sessions, Study)
    assert (study.accession_number, study.patient_id, study.issuer_of_patient_id) == ("ACC 1", "P1", "HOSP")


@pytest.mark.parametrize(
    "elements",
    [
        {"AccessionNumber": None},
        {"AccessionNumber": "A" * 65},  # half of it would be another study's, and an index has its limits
        {"AccessionNumber": "A" * 5_000},
        {"AccessionNumber": "Größe", "SpecificCharacterSet": "ISO_IR 100"},
    ],
)
def test_a_number_that_is_absent_too_long_or_in_a_character_set_waits_for_who_drafts_the_image(
    elements: dict[str, str | None], sessions: Sessions
) -> None:
    with sessions.begin() as session:
        receive(session, **elements)
    assert (only(sessions, Study).accession_number, only(sessions, Study).patient_id) == ("", "CANARY-ID")


def test_a_second_image_joins_its_series_and_keeps_the_study_open(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
    with sessions.begin() as session:
        receive(session, SOPInstanceUID=OTHER_UID, now=LATER)
    assert len(all_of(sessions, Instance)) == 2
    assert only(sessions, Series).id
    assert only(sessions, Study).last_received_at == LATER


def test_one_series_uid_in_two_studies_is_two_series(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
        receive(session, SOPInstanceUID=OTHER_UID, StudyInstanceUID="1.2.3")
    assert len({series.study_id for series in all_of(sessions, Series)}) == 2


def test_the_same_bytes_again_change_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        first = receive(session)
    complete(sessions)
    with sessions.begin() as session:
        assert receive(session, now=LATER, ae="OTHER").id == first.id
    study, instance = only(sessions, Study), only(sessions, Instance)
    assert (study.state, study.last_received_at) == ("complete", LATER)  # so it is not removed meanwhile
    assert (instance.calling_ae, instance.received_at) == ("MODALITY", NOON)


def test_the_same_uid_with_other_bytes_is_a_second_row(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
        receive(session, ViewPosition="AP")
    first, second = all_of(sessions, Instance)
    assert first.sop_instance_uid == second.sop_instance_uid
    assert first.path != second.path
    assert (first.variant, second.variant) == (0, 1)
    assert (first.sha256, second.sha256) == ("", Path(second.path).stem)
    with sessions() as session:
        assert registered_paths(session) == {first.path, second.path}


def test_another_patients_film_of_the_same_size_does_not_take_the_place_of_a_lost_one(
    settings: Settings, sessions: Sessions
) -> None:
    settings.instances_dir.mkdir()
    store = InstanceStore(settings.instances_dir)
    with sessions.begin() as session:
        lost = receive(session, store, PatientID="P1")
    store.remove([lost.path])
    with sessions.begin() as session:
        receive(session, store, PatientID="P2")
    first, second = all_of(sessions, Instance)
    assert (first.path, first.patient_key, second.variant) == (lost.path, lost.patient_key, 1)
    with sessions.begin() as session:
        again = receive(session, store, PatientID="P1")
    assert (again.id, store.holds(again.path)) == (first.id, True)


def test_each_variant_is_known_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ids = [receive(session, ViewPosition=view).id for view in ("PA", "AP", "LL", "AP", "PA", "LL")]
    assert ids == [ids[0], ids[1], ids[2], ids[1], ids[0], ids[2]]
    assert [each.variant for each in all_of(sessions, Instance)] == [0, 1, 2]


@pytest.mark.parametrize("sop_class", sorted(RADIOGRAPH_SOP_CLASSES))
def test_a_late_radiograph_reopens_a_complete_study(sop_class: str, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        receive(session)
    complete(sqlite_sessions)
    with sqlite_sessions.begin() as session:
        receive(session, SOPInstanceUID=OTHER_UID, SOPClassUID=sop_class, now=LATER)
    study = only(sqlite_sessions, Study)
    assert (study.state, study.last_received_at) == ("receiving", LATER)
    assert moves_of(sqlite_sessions, "study")[-1] == ("complete", "receiving")


@pytest.mark.parametrize("sop_class", [BASIC_TEXT_SR, "1.2.840.10008.5.1.4.1.1.11.1", "1.2.276.0.1.2.3"])
def test_any_other_object_is_kept_and_reopens_nothing(sop_class: str, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        receive(session)
    complete(sqlite_sessions)
    with sqlite_sessions.begin() as session:
        receive(session, SOPInstanceUID=OTHER_UID, SOPClassUID=sop_class, PixelData=None, now=LATER)
    study = only(sqlite_sessions, Study)
    assert (study.state, study.last_received_at) == ("complete", LATER)
    assert len(all_of(sqlite_sessions, Instance)) == 2


def test_a_late_image_reopens_a_study_whose_draft_is_under_way(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        receive(session)
    complete(sqlite_sessions)
    with sqlite_sessions.begin() as session:
        add_job(session, session.get_one(Study, only(sqlite_sessions, Study).id), state="inferring")
        receive(session, SOPInstanceUID=OTHER_UID, now=LATER)
    assert only(sqlite_sessions, Study).state == "receiving"


@pytest.mark.parametrize("is_same", [True, False], ids=["same image", "six images"])
def test_six_associations_register_one_new_study(is_same: bool, sessions: Sessions) -> None:
    uids = [OTHER_UID if is_same else f"1.2.{number}" for number in range(6)]

    def register_one() -> None:
        with sessions.begin() as session:
            receive(session, SOPInstanceUID=uids.pop())

    dx_bytes()  # what pydicom does once is done
    in_threads(register_one, 6)
    assert only(sessions, Study).id
    assert only(sessions, Series).id
    assert len(all_of(sessions, Instance)) == (1 if is_same else 6)
    assert moves_of(sessions, "study") == [("", "receiving")]
