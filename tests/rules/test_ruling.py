"""What the rules say of queued jobs, that it stands, and that it never reaches beyond what selection allows."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from doubles import NOON, FakeBroker, FakeWriter, FrozenClock
from films import code_sequence
from pydicom.dataset import Dataset
from rows import add_job, add_study, all_of, only, receive
from sqlmodel import Session, select
from waiting import in_threads

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Transient
from dicom_node.models import Delivery, InboundMessage, Instance, Job, Order, Report, Study
from dicom_node.operator import retry
from dicom_node.orders import ROUTINE, hurried
from dicom_node.patients import Identifier, identifiers_to_json
from dicom_node.receive.sweep import sweep_once
from dicom_node.rules.film import Film
from dicom_node.rules.rule_file import RuleFile
from dicom_node.rules.verdict import Decision
from dicom_node.storage import InstanceStore
from dicom_node.timeline import study_status, timeline
from workers import ruling
from workers.inference import Reader, infer
from workers.ruling import Ruling

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example"}
RIS = {"name": "ris", "host": "ris.example"}


class Site:
    """A node with rules; its worker is called by hand."""

    def __init__(self, sessions: Sessions, settings: Settings, folder: Path) -> None:
        self.file, self.sessions, self.clock = folder / "rules.yml", sessions, FrozenClock()
        self.settings = Settings(data_dir=settings.data_dir, pacs=[PACS], ris=[RIS], rules_file=self.file)
        self.store = InstanceStore(settings.instances_dir)
        self.writer = FakeWriter()
        self.restart()

    def restart(self) -> None:
        """A worker that knows nothing but what is stored."""
        rules = RuleFile(self.file, self.settings.destination_names)
        self.ruling = Ruling(self.sessions, self.store, self.settings, rules, self.clock)
        self.reader = Reader(self.sessions, self.store, self.writer, self.settings, self.clock, ruling=self.ruling)

    def rule(self, *rules: str) -> None:
        self.file.write_text(f"rules: [{', '.join(rules)}]", encoding="utf-8")

    def receive(self, *, priority: int = ROUTINE, revision: int = 1, **elements: Any) -> int:
        """A film, and the job of its study."""
        with self.sessions.begin() as session:
            receive(session, self.store, **elements)
            study = session.exec(select(Study).order_by(Study.id.desc())).first()  # type: ignore[union-attr]
            assert study is not None
            study.state = "complete"
            return add_job(session, study, priority=priority, revision=revision).id or 0

    def work(self) -> Job:
        """What becomes of the only job when the rules were asked and a worker looked once."""
        self.ruling.decide_waiting()
        infer(self.reader)
        job: Job = all_of(self.sessions, Job)[-1]
        return job

    def told(self) -> list[str]:
        return [each.destination for each in all_of(self.sessions, Delivery)]

    def story(self) -> str:
        with self.sessions() as session:
            return "\n".join(each.what for each in timeline(session, session.exec(select(Study)).one()))


@pytest.fixture
def site(sessions: Sessions, settings: Settings, tmp_path: Path) -> Site:
    return Site(sessions, settings, tmp_path)


def decision_of(job: Job) -> Decision:
    assert job.decision is not None
    return Decision.from_json(job.decision)


def test_a_study_that_a_rule_takes_out_is_skipped_and_the_timeline_names_the_rule(site: Site) -> None:
    site.rule("{name: no north, when: {institution_name: '*north*'}, read: no}")
    site.receive(InstitutionName="Clinic North")
    assert not site.ruling.decide_waiting()
    job = only(site.sessions, Job)
    assert (job.state, job.reason) == ("skipped", "rule no north took it: it is not to be read")
    assert not infer(site.reader)
    assert site.writer.images == all_of(site.sessions, Report) == []
    assert "queued → skipped (rule no north took it: it is not to be read)" in site.story()
    with site.sessions() as session:
        assert study_status(session, session.exec(select(Study)).one()).why == job.reason


def test_a_draft_goes_to_the_destinations_of_its_rule_alone(site: Site) -> None:
    site.rule("{name: to pacs, when: {modality: DX}, priority: asap, destinations: pacs}")
    site.receive()
    assert site.work().state == "reported"
    (delivery,) = all_of(site.sessions, Delivery)
    assert (delivery.destination, delivery.priority) == ("pacs", 1)
    assert "(rule to pacs took it: priority asap, for pacs alone)" in site.story()


def test_what_no_rule_takes_is_read_as_without_rules(site: Site) -> None:
    site.rule("{name: others, when: {modality: CR}, read: no}")
    site.receive(priority=3)
    assert site.work().state == "reported"
    assert site.told() == ["pacs", "ris"]
    assert "(no rule took it: it is read as without rules)" in site.story()


def test_a_draft_for_no_destination_is_kept_here_and_says_so(site: Site) -> None:
    site.rule("{name: trial, destinations: []}")
    site.receive()
    job = site.work()
    words = "its rule names no destination: the draft is kept here"
    assert (job.state, job.reason, site.told()) == ("done", words, [])
    assert len(all_of(site.sessions, Report)) == 1
    with site.sessions() as session:
        assert study_status(session, session.exec(select(Study)).one()).why == words


def test_without_rules_nobody_waits_and_nothing_is_written(site: Site) -> None:
    site.receive()
    settings = site.settings.model_copy(update={"rules_file": None})
    assert infer(replace(site.reader, settings=settings, ruling=None))
    job = only(site.sessions, Job)
    assert (job.state, job.decision, site.told()) == ("reported", None, ["pacs", "ris"])
    assert "rule" not in site.story()


def test_no_worker_takes_and_no_bell_rings_for_a_job_before_the_rules_were_asked(site: Site) -> None:
    broker = FakeBroker()
    site.rule("{name: all, priority: stat}")
    job_id = site.receive()
    sweep_once(site.sessions, site.settings, site.clock, broker)
    assert (broker.heard, infer(site.reader, job_id)) == ([], False)
    site.ruling.decide_waiting()
    sweep_once(site.sessions, site.settings, site.clock, broker)
    assert (broker.heard, infer(site.reader, job_id)) == ([(job_id, 0)], True)


def test_the_queue_is_in_the_order_of_the_rules(site: Site) -> None:
    site.rule("{name: er, when: {calling_ae: ER}, priority: stat}", "{name: screening, priority: low}")
    for number, ae in enumerate(("ROOM", "ER")):
        with site.sessions.begin() as session:
            uids = {f"{each}InstanceUID": f"1.2.{number}" for each in ("Study", "Series", "SOP")}
            receive(session, site.store, ae=ae, **uids)
            add_job(session, session.exec(select(Study).where(Study.study_instance_uid == f"1.2.{number}")).one())
    site.ruling.decide_waiting()
    assert [job.priority for job in all_of(site.sessions, Job)] == [9, 0]
    infer(site.reader)
    assert [job.state for job in all_of(site.sessions, Job)] == ["queued", "reported"]


@pytest.mark.parametrize(
    ("planned", "ordered", "urgency"), [(5, 5, 5), (9, 5, 9), (9, 0, 0), (0, 5, 0), (1, 0, 0), (0, 1, 0), (5, 3, 3)]
)
def test_what_an_order_calls_urgent_stays_urgent(planned: int, ordered: int, urgency: int) -> None:
    assert hurried(planned, ordered) == urgency


def add_order(session: Session, patient_id: str, **columns: Any) -> None:
    study = session.exec(select(Study)).one()
    message = InboundMessage(
        sending_application="RIS", sending_facility="H", control_id="1", message_type="ORM^O01", raw=b"", sha256="",
        is_used=True, reason="", received_at=NOON,
    )  # fmt: skip
    session.add(message)
    session.flush()
    session.add(
        Order(
            message_id=message.id, study_instance_uid=study.study_instance_uid, updated_at=NOON, created_at=NOON,
            patient_identifiers=identifiers_to_json([Identifier.of(patient_id)]), **columns,
        )
    )  # fmt: skip


def test_the_order_is_asked_for_its_code_and_its_urgency(site: Site) -> None:
    site.rule("{name: lines, when: {procedure_code: 'XRLINE?'}, priority: low, destinations: pacs}")
    site.receive()
    with site.sessions.begin() as session:
        add_order(session, "CANARY-ID", procedure_code="XRLINE1", priority=1)
    site.ruling.decide_waiting()
    job = only(site.sessions, Job)
    assert (job.priority, decision_of(job).rule) == (1, "lines")


def test_the_order_of_another_patient_says_nothing_to_the_rules_and_holds_the_draft(site: Site) -> None:
    site.rule("{name: lines, when: {procedure_code: '*'}, read: no}")
    site.receive()
    with site.sessions.begin() as session:
        add_order(session, "CANARY-OTHER", procedure_code="XRLINE1")
    job = site.work()
    assert (job.state, "held" in job.reason) == ("failed", True)


def test_a_films_own_code_is_asked_for(site: Site) -> None:
    site.rule("{name: lines, when: {procedure_code: XRLINE1}, read: no}")
    site.receive(ProcedureCodeSequence=code_sequence("XRLINE1", "99L", "Line"))
    assert site.work().state == "skipped"


def test_an_order_is_found_by_a_number_that_only_the_request_in_the_film_has(site: Site) -> None:
    site.rule("{name: lines, when: {procedure_code: XRLINE1}, read: no}")
    requested = Dataset()
    requested.AccessionNumber = "CANARY-REQ"
    site.receive(AccessionNumber="", RequestAttributesSequence=[requested])
    with site.sessions.begin() as session:
        add_order(session, "CANARY-ID", procedure_code="XRLINE1", accession_number="CANARY-REQ")
    assert site.work().reason == "rule lines took it: it is not to be read"


def test_each_value_of_an_element_is_asked_about(site: Site) -> None:
    site.rule("{name: children, when: {institution_name: children}, read: no}")
    site.receive(InstitutionName="WEST\\Children")
    assert site.work().state == "skipped"


@pytest.mark.parametrize("change", ["{name: new, read: no}", "{name: new, destinations: ris}"])
def test_what_was_decided_stands_whatever_becomes_of_the_file_and_the_worker(change: str, site: Site) -> None:
    site.rule("{name: old, destinations: pacs}")
    site.receive()
    site.ruling.decide_waiting()
    site.rule(change)
    site.restart()
    assert site.work().state == "reported"
    assert site.told() == ["pacs"]
    assert "rule new" not in site.story()


def test_a_file_that_changes_counts_for_the_next_study(site: Site) -> None:
    site.rule("{name: old, read: no}")
    site.receive()
    site.work()
    site.rule("{name: new}")
    assert site.work().reason.startswith("rule old")
    with site.sessions.begin() as session:
        receive(session, site.store, SOPInstanceUID="1.2.3")
        add_job(session, session.exec(select(Study)).one(), revision=2)
    assert site.work().state == "reported"


def test_whoever_tries_again_has_the_rules_asked_again(site: Site) -> None:
    site.rule("{name: old, read: no}")
    site.receive()
    site.work()
    site.rule("{name: new, destinations: ris}")
    with site.sessions.begin() as session:
        retry(session, session.exec(select(Study)).one().id or 0, NOON)
    assert site.work().state == "reported"
    assert site.told() == ["ris"]


def test_without_good_rules_since_its_start_a_worker_drafts_nothing_and_loses_nothing(site: Site) -> None:
    site.file.write_text("rules: [{nme: x}]")
    site.receive()
    assert site.work().state == "queued"
    assert "nme is not known here" in site.ruling.rules.lacks
    site.rule("{name: x}")
    assert site.work().state == "reported"


def test_a_better_image_that_came_after_the_rules_were_asked_is_asked_about_itself(site: Site) -> None:
    site.rule("{name: not of room 2, when: {station_name: ROOM2}, read: no}")
    site.receive(StationName="ROOM1", ViewPosition="AP")
    site.ruling.decide_waiting()
    with site.sessions.begin() as session:
        receive(session, site.store, StationName="ROOM2", SOPInstanceUID="1.2.3")
    infer(site.reader)
    job = only(site.sessions, Job)
    assert (job.state, job.reason) == ("skipped", "rule not of room 2 took it: it is not to be read")
    assert all_of(site.sessions, Report) == []


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ViewPosition": "LL"}, "no frontal view (view LL)"),
        ({"BodyPartExamined": "ABDOMEN"}, "not a radiograph of the chest (body part ABDOMEN)"),
        ({"BodyPartExamined": None}, "body part not stated"),
        ({"PixelData": None}, "no pixel data"),
        ({"BurnedInAnnotation": "YES"}, "text is burned into the image"),
        ({"PatientOrientation": ["R", "F"]}, "stored mirrored or turned"),
    ],
)
def test_no_rule_has_a_film_read_that_the_node_refuses(elements: dict[str, Any], reason: str, site: Site) -> None:
    site.rule("{name: everything, read: yes, priority: stat}")
    site.receive(**elements)
    job = site.work()
    assert (job.state, job.reason[: len(reason)]) == ("skipped", reason)
    assert site.writer.images == []


def test_an_image_that_was_drafted_before_is_unchanged_whatever_the_rules_say_now(site: Site) -> None:
    site.rule("{name: all}")
    site.receive()
    site.work()
    site.rule("{name: none, read: no}")
    with site.sessions.begin() as session:
        add_job(session, session.exec(select(Study)).one(), revision=2)
    assert site.work().reason == "a draft was made from the same image already (revision 1)"


@pytest.mark.parametrize("fault", ["the file is gone", "the folder is away"])
def test_a_film_that_cannot_be_asked_about_is_left_to_the_worker_which_says_why(fault: str, site: Site) -> None:
    site.rule("{name: none, when: {institution_name: '*'}, read: no}")
    site.receive()
    file = site.store.open(only(site.sessions, Instance).path)
    if fault == "the file is gone":
        file.unlink()
    else:
        file.parent.rename(file.parent.with_name("away"))
    job = site.work()
    state, words = ("failed", "the image's file is gone") if "gone" in fault else ("queued", "instance folder is away")
    assert (job.state, job.reason[: len(words)], job.attempts) == (state, words, 1)


def test_a_film_that_breaks_the_asking_is_left_to_the_worker_and_holds_up_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.rule("{name: all}")
    bad = site.receive()
    site.receive(StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.4", SeriesInstanceUID="1.2.5")
    film_of = ruling.film_of

    def break_first(sessions: Sessions, store: InstanceStore, instance: Instance) -> Film:
        if instance.sop_instance_uid != "1.2.4":
            raise AssertionError("CANARY^PHI")  # of a library: nothing that is known to be raised
        return film_of(sessions, store, instance)

    monkeypatch.setattr(ruling, "film_of", break_first)
    assert not site.ruling.decide_waiting()
    while infer(site.reader):
        pass
    told = {job.id: (job.state, job.reason) for job in all_of(site.sessions, Job)}
    assert told.pop(bad) == ("failed", "unexpected AssertionError: see the log")
    assert [state for state, _ in told.values()] == ["reported"]


def test_a_name_longer_than_any_holds_up_neither_its_film_nor_others(site: Site) -> None:
    site.rule("{name: all}")
    site.receive(PatientName="".join(sha256(bytes([number])).hexdigest() for number in range(100)))
    site.receive(StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.4", SeriesInstanceUID="1.2.5")
    assert not site.ruling.decide_waiting()
    while infer(site.reader):
        pass
    assert [job.state for job in all_of(site.sessions, Job)] == ["reported", "reported"]


def test_a_film_that_can_be_read_again_is_asked_about_before_it_is_drafted(site: Site) -> None:
    site.rule("{name: north, when: {institution_name: north}, read: no}")
    site.receive(InstitutionName="North")
    folder = site.store.open(only(site.sessions, Instance).path).parent
    folder.rename(folder.with_name("away"))
    site.ruling.decide_waiting()
    folder.with_name("away").rename(folder)
    infer(site.reader)
    assert only(site.sessions, Job).reason == "rule north took it: it is not to be read"


def test_a_worker_without_rules_takes_no_job_and_counts_no_attempt(site: Site) -> None:
    site.rule("{name: x}")
    site.receive(ViewPosition="AP")
    site.ruling.decide_waiting()
    with site.sessions.begin() as session:
        receive(session, site.store, SOPInstanceUID="1.2.3")
    site.file.unlink()
    site.restart()
    assert not infer(site.reader)
    job = only(site.sessions, Job)
    assert (job.state, job.attempts) == ("queued", 0)


def test_who_may_have_an_earlier_draft_gets_the_next_whatever_its_rule_says(site: Site) -> None:
    """Or would be left with what is outdated."""
    site.rule("{name: second room, when: {station_name: ROOM2}, destinations: pacs}")
    site.receive(ViewPosition="AP", StationName="ROOM1")
    site.work()
    with site.sessions.begin() as session:
        ris = session.exec(select(Delivery).where(Delivery.destination == "ris")).one()
        ris.has_gone_out = True
        receive(session, site.store, SOPInstanceUID="1.2.3", StationName="ROOM2")
        add_job(session, session.exec(select(Study)).one(), revision=2)
    assert site.work().state == "reported"
    assert site.told() == ["pacs", "ris", "pacs", "ris"]


def test_a_destination_that_the_settings_do_not_name_any_more_is_missed_loudly(site: Site) -> None:
    site.rule("{name: to ris, destinations: ris}")
    site.receive()
    site.ruling.decide_waiting()
    infer(replace(site.reader, settings=site.settings.model_copy(update={"ris": ()})))
    job = only(site.sessions, Job)
    words = "rule to ris sends it to ris, which the settings do not name"
    assert (job.state, job.reason, site.writer.images) == ("failed", words, [])


def test_several_workers_decide_once(site: Site) -> None:
    site.rule("{name: all, destinations: pacs}")
    site.receive()
    in_threads(site.ruling.decide_waiting, 4)  # the others find it decided
    assert decision_of(only(site.sessions, Job)) == Decision(only(site.sessions, Instance).id, "all", ("pacs",))
    assert site.story().count("rule all took it") == 1


def test_whoever_lost_the_lease_while_the_rules_were_asked_changes_nothing(site: Site) -> None:
    site.rule("{name: none, read: no}")
    site.receive()
    before = only(site.sessions, Job)
    with site.sessions.begin() as session:
        session.exec(select(Job)).one().attempts = 1
    instance = only(site.sessions, Instance)
    with pytest.raises(Transient, match="somebody else has the job by now"):
        site.ruling.decide(before, instance)
    job = only(site.sessions, Job)
    assert (job.state, job.decision) == ("queued", None)


def test_jobs_are_decided_some_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.ruling._AT_ONCE", 2)
    site.rule("{name: all}")
    with site.sessions.begin() as session:
        for _ in range(3):
            add_job(session, add_study(session))
    assert [site.ruling.decide_waiting() for _ in range(2)] == [True, False]
    assert all(job.decision for job in all_of(site.sessions, Job))


def test_a_job_that_waits_for_its_time_is_decided_meanwhile(site: Site) -> None:
    site.rule("{name: all, priority: asap}")
    with site.sessions.begin() as session:
        receive(session, site.store)
        add_job(session, session.exec(select(Study)).one(), due_at=NOON + timedelta(hours=1))
    site.ruling.decide_waiting()
    assert only(site.sessions, Job).priority == 1


def test_a_decision_is_read_as_it_was_written() -> None:
    for decision in (Decision(None), Decision(3, "a", ()), Decision(4, "b", ("pacs", "ris")), Decision(5, "", None)):
        assert Decision.from_json(decision.to_json()) == decision
