"""What closes a study before the quiet timer does, and what does not."""

from datetime import datetime, timedelta

import pytest
from doubles import NOON
from films import make_dx
from rows import add_job, add_study, all_of, only, receive
from sqlmodel import Session, select

from dicom_node.database import Sessions
from dicom_node.models import Declaration, Job, PerformedStep, StepStatus, Study, Transition
from dicom_node.peers import Completeness
from dicom_node.receive.completeness import close_quiet_studies
from dicom_node.receive.declarations import declare_complete

STUDY = str(make_dx().StudyInstanceUID)
SR = "1.2.840.10008.5.1.4.1.1.88.11"
MESSAGE, NOTICE = "HL7 message ORU^R01", "the PACS announced it (IAN)"
QUIET, RELEASED = "no image for the idle time", "the association that sent it was released"
AT_ONCE = timedelta(seconds=2)  # the default of settle_s
IDLE = timedelta(seconds=30)
MOMENT = timedelta(milliseconds=1)


def close(sessions: Sessions, now: datetime = NOON + AT_ONCE, rules: Completeness | None = None) -> list[str]:
    """Why the studies that are complete now were closed."""
    with sessions.begin() as session:
        jobs = close_quiet_studies(session, now=now, idle_timeout_s=IDLE.total_seconds(), rules=rules or Completeness())
    closings = [each for each in all_of(sessions, Transition) if (each.row_kind, each.new) == ("study", "complete")]
    return [each.reason for each in closings][-len(jobs) :] if jobs else []


def film(session: Session, number: int, now: datetime = NOON, **elements: str) -> Study:
    receive(session, now=now, SOPInstanceUID=f"1.2.{number}", **elements)
    return session.exec(select(Study).where(Study.study_instance_uid == STUDY)).one()


def declare(session: Session, *numbers: int, reason: str = MESSAGE) -> None:
    instances = [f"1.2.{number}" for number in numbers]
    declare_complete(session, study_instance_uid=STUDY, now=NOON, reason=reason, instances=instances)


def end_job(session: Session) -> None:
    session.exec(select(Job)).one().state = "done"


def test_a_declared_study_is_closed_once_it_has_settled_and_the_timeline_says_why(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
        declare(session)
    assert close(sessions, NOON + AT_ONCE - MOMENT) == []
    assert close(sessions, NOON + AT_ONCE) == [MESSAGE]
    assert only(sessions, Job).revision == 1
    assert all_of(sessions, Declaration) == []


def test_a_declaration_may_come_before_the_first_image(sessions: Sessions) -> None:
    with sessions.begin() as session:
        declare(session, 1, 2)
    assert close(sessions) == []
    for number, reasons in ((1, []), (2, [f"{MESSAGE}; images named: 2, all here"])):
        with sessions.begin() as session:
            film(session, number)
        assert close(sessions) == reasons


def test_a_declaration_that_is_rolled_back_was_never_made(sessions: Sessions) -> None:
    with sessions() as session:
        declare(session)
        session.rollback()
    with sessions.begin() as session:
        film(session, 1)
    assert close(sessions) == []


def test_what_is_said_in_parts_is_complete_when_all_parts_are_here(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
        declare(session, 1)
        declare(session, 1, 2)
    assert close(sessions) == []
    with sessions.begin() as session:
        film(session, 2)
    assert close(sessions) == [f"{MESSAGE}; images named: 2, all here"]


def test_what_one_misses_does_not_weaken_what_another_says(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
        declare(session, 1, 2, reason=NOTICE)
        declare(session)
    assert close(sessions) == [MESSAGE]
    assert {each.reason for each in all_of(sessions, Declaration)} == {NOTICE}


def test_the_quiet_timer_closes_a_study_of_which_something_never_comes(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
        declare(session, 1, 2)
    assert close(sessions, NOON + IDLE - MOMENT) == []
    assert close(sessions, NOON + IDLE) == [QUIET]


def test_the_missing_image_closes_its_study_at_once_though_it_comes_late(sessions: Sessions) -> None:
    late = NOON + timedelta(hours=1)
    with sessions.begin() as session:
        film(session, 1)
        declare(session, 1, 2)
    assert close(sessions, NOON + IDLE) == [QUIET]
    with sessions.begin() as session:
        end_job(session)
        film(session, 2, late)
    assert close(sessions, late + AT_ONCE) == [f"{MESSAGE}; images named: 2, all here"]
    assert [job.revision for job in all_of(sessions, Job)] == [1, 2]


def test_an_image_that_comes_late_and_that_nobody_named_waits_for_the_quiet_timer(sessions: Sessions) -> None:
    """What was said is spent: it knew nothing of this image, and others may follow it."""
    late = NOON + timedelta(hours=1)
    with sessions.begin() as session:
        film(session, 1)
        declare(session)
    assert close(sessions) == [MESSAGE]
    with sessions.begin() as session:
        end_job(session)
        film(session, 2, late)
    assert close(sessions, late + IDLE - MOMENT) == []
    assert close(sessions, late + IDLE) == [QUIET]


def test_what_is_said_of_a_closed_study_is_spent_unless_something_is_missing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
    assert close(sessions, NOON + IDLE) == [QUIET]
    with sessions.begin() as session:
        declare(session, 1)
        declare(session, reason=NOTICE)
        declare(session, 7, reason="of more than is here")
    assert {each.reason for each in all_of(sessions, Declaration)} == {"of more than is here"}


def test_an_active_job_keeps_a_declared_study_open(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session, film(session, 1), state="inferring")
        declare(session)
    assert close(sessions) == []


@pytest.mark.parametrize("end", [StepStatus.COMPLETED, StepStatus.DISCONTINUED])
def test_a_modality_at_work_overrules_all_but_the_quiet_timer(end: StepStatus, sessions: Sessions) -> None:
    rules = Completeness(on_release=True, image_count=1)
    with sessions.begin() as session:
        film(session, 1).released_at = NOON
        declare(session)
        session.add(PerformedStep(sop_instance_uid="1.9", study_instance_uid=STUDY, created_at=NOON))
    assert close(sessions, rules=rules) == []
    with sessions.begin() as session:
        session.exec(select(PerformedStep)).one().status = end
    assert close(sessions, rules=rules) == [MESSAGE]


def test_the_quiet_timer_closes_a_study_whose_modality_never_says_that_it_is_done(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
        declare(session)
        session.add(PerformedStep(sop_instance_uid="1.9", study_instance_uid=STUDY, created_at=NOON))
    assert close(sessions, NOON + IDLE) == [QUIET]


def test_a_step_in_another_study_overrules_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
        declare(session)
        session.add(PerformedStep(sop_instance_uid="1.9", study_instance_uid="1.8", created_at=NOON))
    assert close(sessions) == [MESSAGE]


@pytest.mark.parametrize(("released_after", "reasons"), [(timedelta(), [RELEASED]), (-MOMENT, [])])
def test_a_study_is_released_if_nothing_came_since(
    released_after: timedelta, reasons: list[str], sessions: Sessions
) -> None:
    with sessions.begin() as session:
        film(session, 1).released_at = NOON + released_after
    assert close(sessions, rules=Completeness()) == []
    assert close(sessions, rules=Completeness(on_release=True)) == reasons


@pytest.mark.parametrize(
    ("enough", "reasons"), [(None, []), (3, []), (2, ["images that came: 2, enough by image_count: 2"])]
)
def test_enough_radiographs_complete_a_study(enough: int | None, reasons: list[str], sessions: Sessions) -> None:
    """One sent again, or with other bytes, does not count twice, and what is no radiograph does not count."""
    with sessions.begin() as session:
        add_study(session, state="complete")
        film(session, 1)
        film(session, 1)
        film(session, 1, ViewPosition="AP")
        film(session, 2)
        film(session, 3, SOPClassUID=SR)
    assert close(sessions, rules=Completeness(image_count=enough)) == reasons


def test_nothing_closes_a_study_before_it_has_settled(sessions: Sessions) -> None:
    rules = Completeness(on_release=True, image_count=1, settle_s=5)
    with sessions.begin() as session:
        film(session, 1).released_at = NOON
        declare(session)
    assert close(sessions, NOON + timedelta(seconds=5) - MOMENT, rules) == []
    assert close(sessions, NOON + timedelta(seconds=5), rules) == [MESSAGE]


def test_the_quiet_timer_does_not_wait_for_a_longer_settling(sessions: Sessions) -> None:
    with sessions.begin() as session:
        film(session, 1)
        declare(session)
    assert close(sessions, NOON + IDLE, Completeness(settle_s=3_600)) == [QUIET]


def test_no_rule_trusts_a_clock_that_was_set_back(sessions: Sessions) -> None:
    """An image from the near future counts as just received; from a later one, the study is quiet for all we know."""
    rules = Completeness(on_release=True, image_count=1)
    with sessions.begin() as session:
        film(session, 1, NOON + timedelta(hours=1)).released_at = NOON
        declare(session)
    assert close(sessions, NOON + timedelta(hours=1) - IDLE, rules) == []
    assert close(sessions, NOON, rules) == [QUIET]
