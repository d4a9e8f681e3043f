"""Drafts meet signed reports: one comparison for a study, of the newest of each, whatever came in between."""

from dataclasses import replace
from typing import Any

import pytest
from doubles import FINDINGS
from hl7_messages import PATIENT_ID, final, merge, order
from rows import all_of, only
from sqlmodel import select
from test_orders import OTHER, STUDY_UID, House
from waiting import in_threads

from dicom_node.agreement.outcome import Outcome, conclusion, in_words
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Agreement, FinalReport, FindingAgreement, Report, Study
from dicom_node.withdrawal import withdraw
from workers import comparing
from workers.comparing import Comparing

LEFT = "Small left pleural effusion. No pneumothorax."
HOUR_S = 3_600.0


class Comparer(House):
    """A house whose worker compares, too."""

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        super().__init__(sessions, settings)
        self.comparing = Comparing(sessions, self.clock)

    def drafted(self, text: str) -> None:
        self.writer.findings = replace(FINDINGS, text=text)
        self.receive()
        assert self.draft().state == "reported"

    def compare(self) -> list[Any]:
        """The rows of the findings, when all is compared that is due."""
        while self.comparing.compare_due():
            pass
        return all_of(self.sessions, FindingAgreement)


@pytest.fixture
def house(sessions: Sessions, settings: Settings) -> Comparer:
    return Comparer(sessions, settings)


def compares(house: Comparer) -> tuple[int, int]:
    """The draft and the final report of the one comparison."""
    row = only(house.sessions, Agreement)
    return row.report_id, row.final_report_id


def told(rows: list[FindingAgreement]) -> list[tuple[str, str]]:
    return [(row.finding, row.outcome) for row in rows]


def test_a_draft_and_what_was_signed_are_compared_by_words_and_by_findings(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Small left pleural effusion. The heart is enlarged. No pneumothorax."))
    assert told(house.compare()) == [("Cardiomegaly", Outcome.MISSED), ("Pleural effusion", Outcome.AGREED)]
    row = only(house.sessions, Agreement)
    assert compares(house) == (only(house.sessions, Report).id, only(house.sessions, FinalReport).id)
    assert row.rouge_l == pytest.approx(0.75)  # 6 words in common, of 6 and of 10
    assert (row.compared_at, row.rules_digest) == (house.clock(), comparing.rules_digest())


@pytest.mark.parametrize(
    ("draft", "signed", "outcome", "said", "words"),
    [
        ("Left effusion.", "Right effusion.", "side differs", ("there, left", "there, right"), "The sides differ"),
        ("Left mass.", "Bilateral masses.", "side differs", ("there, left", "there, bilateral"), "The sides differ"),
        ("Effusion.", "Right effusion.", "agreed", ("there", "there, right"), "Both say so"),
        ("Clear lungs.", "Right effusion.", "missed", ("not named", "there, right"), "The draft misses it"),
        ("No effusion.", "Right effusion.", "missed", ("not there", "there, right"), "The draft denies it"),
        ("Possible effusion.", "Effusion.", "missed", ("left open", "there"), "The draft misses it"),
        ("Effusion.", "Clear lungs.", "added", ("there", "not named"), "The draft alone says so"),
        ("Effusion.", "No effusion.", "added", ("there", "not there"), "The radiologist denies it"),
        ("Effusion.", "Possible effusion.", "added", ("there", "left open"), "The draft alone says so"),
    ],
)  # fmt: skip
def test_each_way_to_agree_or_not_has_its_outcome_and_its_words(
    draft: str, signed: str, outcome: str, said: tuple[str, str], words: str, house: Comparer
) -> None:
    house.drafted(draft)
    house.hear(final(findings=signed))
    (row,) = house.compare()
    assert (row.outcome, conclusion(row)) == (outcome, words)
    assert (in_words(row.draft, row.draft_side), in_words(row.final, row.final_side)) == said


@pytest.mark.parametrize("text", ["Clear lungs.", "No effusion.", "Possible effusion."])
def test_what_neither_says_is_there_is_no_finding(text: str, house: Comparer) -> None:
    house.drafted("Possible effusion. No pneumothorax.")
    house.hear(final(findings=text))
    assert house.compare() == []
    assert only(house.sessions, Agreement).rouge_l >= 0


def test_a_draft_that_was_never_sent_is_compared_and_one_without_a_final_report_waits(house: Comparer) -> None:
    house.drafted(LEFT)
    assert (house.compare(), all_of(house.sessions, Agreement)) == ([], [])
    house.hear(final(findings=LEFT))  # cancels what is pending
    house.compare()
    assert only(house.sessions, Agreement).rouge_l == 1.0


def test_a_corrected_report_makes_the_comparison_anew(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Right effusion."))
    assert told(house.compare()) == [("Pleural effusion", Outcome.SIDE_DIFFERS)]
    first = only(house.sessions, Agreement).id
    house.hear(final(status="C", control_id="R2", findings="Left effusion."))
    assert told(house.compare()) == [("Pleural effusion", Outcome.AGREED)]
    assert compares(house) == (only(house.sessions, Report).id, all_of(house.sessions, FinalReport)[-1].id)
    assert only(house.sessions, Agreement).id > first


def test_what_was_corrected_stays_so_when_the_report_before_is_sent_once_more(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(status="C", findings="Left effusion."), final(control_id="R2", findings="Right effusion."))
    assert told(house.compare()) == [("Pleural effusion", Outcome.AGREED)]


def test_an_addendum_that_comes_alone_is_not_the_report(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Left effusion."))
    house.compare()
    house.hear(final(status="C", control_id="R2", findings="ADDENDUM: called to the ward at 10:00."))
    assert told(house.compare()) == [("Pleural effusion", Outcome.AGREED)]
    house.hear(final(status="C", control_id="R3", findings="Addendum: the side was wrong. FINDINGS: Right effusion."))
    assert told(house.compare()) == [("Pleural effusion", Outcome.SIDE_DIFFERS)]


def test_a_report_of_another_procedure_of_the_order_is_compared_with_nothing(house: Comparer) -> None:
    house.drafted(LEFT)
    house.receive(StudyInstanceUID="1.2.77", SeriesInstanceUID="1.2.78", SOPInstanceUID="1.2.79")
    house.hear(order(study="1.2.77"), final(findings="The foot is well."))
    assert house.compare() == []


def test_of_several_drafts_the_newest_is_compared_also_when_it_came_after_the_report(house: Comparer) -> None:
    house.drafted("Right effusion.")
    house.writer.before = lambda: house.hear(final(findings=LEFT))
    house.writer.findings = replace(FINDINGS, text=LEFT)
    house.receive(SOPInstanceUID="1.2.3")
    house.comparing.compare_due()
    assert house.draft().state == "reported"
    house.compare()
    house.clock.forward(HOUR_S)  # the walk begins again
    assert told(house.compare()) == [("Pleural effusion", Outcome.AGREED)]
    assert compares(house)[0] == all_of(house.sessions, Report)[-1].id


def test_a_withdrawn_draft_stays_in_the_comparison(house: Comparer) -> None:
    house.drafted(LEFT)
    with house.sessions.begin() as session:
        withdraw(session, house.settings, session.exec(select(Study.id)).one(), "a test", house.clock())
    house.hear(final(findings=LEFT))
    house.compare()
    assert only(house.sessions, Agreement).report_id == only(house.sessions, Report).id
    assert only(house.sessions, Report).withdrawn_at is not None


def test_another_patients_report_is_compared_with_nothing_until_a_merge_makes_them_one(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(patient=OTHER, findings=LEFT))
    house.compare()
    assert all_of(house.sessions, Agreement) == []
    house.hear(merge(prior=OTHER, surviving=f"{PATIENT_ID}^^^HOSP^MR"))
    house.clock.forward(HOUR_S)
    house.compare()
    assert compares(house)[1] == only(house.sessions, FinalReport).id


def test_a_report_that_is_a_document_alone_is_compared_with_nothing(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="").replace(b"Effusion.\\.br\\Nothing else.", b""))
    house.compare()
    assert only(house.sessions, FinalReport).text.strip() == ""
    assert all_of(house.sessions, Agreement) == []


def test_a_document_that_somebody_wrote_as_text_is_compared_with_nothing(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Right effusion. " * 4000))
    house.compare()
    assert all_of(house.sessions, Agreement) == []


def test_others_may_write_while_texts_are_read(house: Comparer, monkeypatch: pytest.MonkeyPatch) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Right effusion."))
    right = comparing._labels

    def write_and_read(text: str) -> Any:
        with house.sessions.begin() as session:
            session.exec(select(Study).with_for_update(nowait=True)).one().last_received_at = house.clock()
        return right(text)

    monkeypatch.setattr(comparing, "_labels", write_and_read)
    assert told(house.compare()) == [("Pleural effusion", Outcome.SIDE_DIFFERS)]


def test_a_slow_worker_does_not_put_back_what_was_compared_meanwhile(
    house: Comparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Right effusion."))
    right, once = comparing._labels, iter([True])

    def read(text: str) -> Any:
        if next(once, False):
            house.hear(final(status="C", control_id="R2", findings=LEFT))
            Comparing(house.sessions, house.clock).compare_due()
        return right(text)

    monkeypatch.setattr(comparing, "_labels", read)
    assert told(house.compare()) == [("Pleural effusion", Outcome.AGREED)]


def test_looking_again_and_by_two_workers_at_once_changes_nothing(house: Comparer) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Right effusion. The heart is enlarged."))
    in_threads(lambda: Comparing(house.sessions, house.clock).compare_due(), 4)
    first = (only(house.sessions, Agreement), all_of(house.sessions, FindingAgreement))
    assert len(first[1]) == 2
    house.clock.forward(HOUR_S)
    house.compare()
    assert (only(house.sessions, Agreement), all_of(house.sessions, FindingAgreement)) == first


def test_a_worker_that_dies_before_the_commit_leaves_nothing_and_the_next_does_it_all(
    house: Comparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.drafted(LEFT)
    house.hear(final(findings="Right effusion."))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt  # as a kill: nothing catches it

    with monkeypatch.context() as patched:
        patched.setattr(comparing, "agreement_on", die)
        with pytest.raises(KeyboardInterrupt):
            house.compare()
    assert all_of(house.sessions, Agreement) == []
    Comparing(house.sessions, house.clock).compare_due()
    assert told(all_of(house.sessions, FindingAgreement)) == [("Pleural effusion", Outcome.SIDE_DIFFERS)]


def test_one_text_that_cannot_be_read_holds_up_no_other(house: Comparer, monkeypatch: pytest.MonkeyPatch) -> None:
    house.drafted("Trouble.")
    house.hear(final(findings=LEFT))
    right = comparing._labels

    def read(text: str) -> Any:
        if text == "Trouble.":
            raise RecursionError
        return right(text)

    monkeypatch.setattr(comparing, "_labels", read)
    house.compare()
    assert all_of(house.sessions, Agreement) == []
    monkeypatch.undo()
    house.clock.forward(HOUR_S)
    assert told(house.compare()) == [("Pleural effusion", Outcome.MISSED)]


def test_other_rules_make_all_comparisons_anew(house: Comparer, monkeypatch: pytest.MonkeyPatch) -> None:
    house.drafted(LEFT)
    house.hear(final(findings=LEFT))
    house.compare()
    monkeypatch.setattr(comparing, "rules_digest", lambda: "e" * 64)
    Comparing(house.sessions, house.clock).compare_due()
    assert only(house.sessions, Agreement).rules_digest == "e" * 64


def test_many_reports_are_walked_over_in_steps(house: Comparer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "_AT_ONCE", 2)
    house.drafted(LEFT)
    for number in range(5):
        house.hear(final(accession=f"ELSEWHERE{number}", control_id=f"E{number}"))
    house.hear(final(findings=LEFT, control_id="OURS"))
    assert [house.comparing.compare_due() for _ in range(4)] == [True, True, True, False]
    assert compares(house)[1] == all_of(house.sessions, FinalReport)[-1].id


def test_no_words_of_either_text_are_in_the_rows(house: Comparer) -> None:
    house.drafted("Left effusion of CANARY^PHI.")
    house.hear(final(findings="Right effusion of CANARY^PHI."))
    rows = house.compare()
    assert rows
    assert "CANARY" not in str([*rows, only(house.sessions, Agreement)])
    assert STUDY_UID not in str(rows)
