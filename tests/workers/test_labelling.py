"""What the rule-based labeller reads from free text, and from the words of the phantom model."""

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts

from dicom_node.labels import Laterality, Presence, labels_from_json, labels_to_json
from workers.labelling import labeller as module
from workers.labelling.findings import FINDINGS, Finding
from workers.labelling.labeller import label, labeller
from workers.phantom.case import SIDELESS, Kind, Side, draw_case
from workers.phantom.reading import read_findings
from workers.phantom.words import write_findings

ABSENT, PRESENT, OPEN = "absent", "present", "undetermined"

SENTENCES = {
    "There is a small left pleural effusion.": [("Pleural effusion", PRESENT, "left")],
    "No pneumothorax.": [("Pneumothorax", ABSENT, "")],
    "No focal consolidation, pleural effusion, or pneumothorax.": [
        ("Lung consolidation", ABSENT, ""),
        ("Pneumothorax", ABSENT, ""),
        ("Pleural effusion", ABSENT, ""),
    ],
    "No pneumothorax. Small right effusion with adjacent atelectasis.": [
        ("Atelectasis", PRESENT, ""),
        ("Pneumothorax", ABSENT, ""),
        ("Pleural effusion", PRESENT, "right"),
    ],
    "Lungs are clear without effusion.": [
        ("Opacity", ABSENT, ""),
        ("Pulmonary edema", ABSENT, ""),
        ("Lung consolidation", ABSENT, ""),
        ("Pleural effusion", ABSENT, ""),
    ],
    "Lungs are clear except for a right nodule.": [("Nodule", PRESENT, "right")],
    # Uncertainty
    "Left basilar opacity may represent atelectasis or pneumonia.": [
        ("Opacity", PRESENT, "left"),
        ("Pneumonia", OPEN, ""),
        ("Atelectasis", OPEN, ""),
    ],
    "Consolidation concerning for pneumonia.": [("Lung consolidation", PRESENT, ""), ("Pneumonia", OPEN, "")],
    "A small pneumothorax cannot be excluded.": [("Pneumothorax", OPEN, "")],
    "Possible tiny left effusion.": [("Pleural effusion", OPEN, "left")],
    "Borderline cardiomegaly.": [("Cardiomegaly", OPEN, "")],
    # A denial before what goes on, which a list would be in its place
    "No pneumothorax and stable effusions.": [("Pneumothorax", ABSENT, "")],
    "No pneumothorax and unchanged effusions.": [("Pneumothorax", ABSENT, "")],
    "No pneumothorax, persistent effusion.": [("Pneumothorax", ABSENT, "")],
    "No pneumothorax, improved edema.": [("Pneumothorax", ABSENT, "")],
    "No pneumothorax, effusion stable.": [("Pneumothorax", ABSENT, "")],
    "No pneumothorax, effusion has slightly increased.": [("Pneumothorax", ABSENT, "")],
    "No pneumothorax, effusions are unchanged.": [("Pneumothorax", ABSENT, "")],
    "No improvement of the edema.": [],
    "No pneumothorax or effusion, unchanged.": [("Pneumothorax", ABSENT, ""), ("Pleural effusion", ABSENT, "")],
    "Stable heart size and no effusion.": [("Pleural effusion", ABSENT, "")],
    "After chest tube removal, no pneumothorax.": [("Pneumothorax", ABSENT, "")],
    "Left effusion resolution.": [],
    # Answers to a heading
    "Pneumothorax: None.": [("Pneumothorax", ABSENT, "")],
    "Pleural effusion: none seen": [("Pleural effusion", ABSENT, "")],
    "Left pleural effusion: none.": [("Pleural effusion", ABSENT, "left")],
    "Consolidation - no.": [("Lung consolidation", ABSENT, "")],
    "Pneumothorax or effusion: none.": [("Pleural effusion", ABSENT, "")],
    "Pneumothorax: no evidence of pneumothorax.": [("Pneumothorax", ABSENT, "")],
    "Pneumothorax: no large pneumothorax.": [],
    "Pneumothorax: there is no pneumothorax.": [("Pneumothorax", ABSENT, "")],
    "Pneumothorax: none on the right.": [],
    "Pneumonia: possible.": [("Pneumonia", OPEN, "")],
    "Pleural effusion: small.": [("Pleural effusion", PRESENT, "")],
    "Left effusion: no change.": [("Pleural effusion", PRESENT, "left")],
    "Pleura: no effusion.": [("Pleural effusion", ABSENT, "")],
    "Right lung: no effusion.": [("Pleural effusion", ABSENT, "right")],
    "Effusion: no pneumothorax.": [("Pneumothorax", ABSENT, "")],
    "This raises the possibility of pneumonia.": [("Pneumonia", OPEN, "")],
    "Opacity worrisome for pneumonia.": [("Opacity", PRESENT, ""), ("Pneumonia", OPEN, "")],
    "The differential includes pneumonia.": [("Pneumonia", OPEN, "")],
    "Consider pneumonia.": [("Pneumonia", OPEN, "")],
    "Considerable right effusion.": [("Pleural effusion", PRESENT, "right")],
    "Perhaps a small left effusion.": [("Pleural effusion", OPEN, "left")],
    "Presumed atelectasis.": [("Atelectasis", OPEN, "")],
    "Opacity favored to represent atelectasis.": [("Opacity", PRESENT, ""), ("Atelectasis", OPEN, "")],
    "Atelectasis rather than pneumonia.": [("Pneumonia", OPEN, ""), ("Atelectasis", PRESENT, "")],
    "A skin fold that simulates a pneumothorax.": [("Pneumothorax", OPEN, "")],
    "Atelectasis vs. pneumonia.": [("Pneumonia", OPEN, ""), ("Atelectasis", OPEN, "")],
    "Pneumonia is difficult to exclude.": [("Pneumonia", OPEN, "")],
    "Pneumonia can't be excluded.": [("Pneumonia", OPEN, "")],
    "Pneumonia has not been excluded.": [("Pneumonia", OPEN, "")],
    "Pneumonia is a strong consideration.": [("Pneumonia", OPEN, "")],
    "Pneumonia should be considered.": [("Pneumonia", OPEN, "")],
    "Pneumonia is very unlikely.": [("Pneumonia", OPEN, "")],
    "Pneumonia is felt less likely.": [("Pneumonia", OPEN, "")],
    "Pneumonia?": [("Pneumonia", OPEN, "")],
    "Small effusions, if any.": [("Pleural effusion", OPEN, "")],
    "A small left effusion may be present.": [("Pleural effusion", OPEN, "left")],
    "The left effusion may be larger.": [("Pleural effusion", PRESENT, "left")],
    "The opacity may be due to atelectasis.": [("Opacity", PRESENT, ""), ("Atelectasis", OPEN, "")],
    # Words of doubt that leave nothing open
    "No suspicious nodule.": [],
    "No concerning nodule.": [],
    "No evidence to suggest pneumonia.": [("Pneumonia", ABSENT, "")],
    "There is no consolidation to suggest pneumonia.": [("Lung consolidation", ABSENT, ""), ("Pneumonia", ABSENT, "")],
    "No effusion, but an opacity suspicious for pneumonia.": [
        ("Opacity", PRESENT, ""),
        ("Pneumonia", OPEN, ""),
        ("Pleural effusion", ABSENT, ""),
    ],
    # Denials of a part, and what only sounds like a denial
    "No large pleural effusion.": [],
    "No displaced rib fracture.": [],
    "No new consolidation.": [],
    "No change in left effusion.": [("Pleural effusion", PRESENT, "left")],
    "The left effusion is unchanged.": [("Pleural effusion", PRESENT, "left")],
    "Left effusion, not seen previously.": [("Pleural effusion", PRESENT, "left")],
    "A nodule that was not present on the prior film.": [("Nodule", PRESENT, "")],
    "Pneumothorax not seen.": [("Pneumothorax", ABSENT, "")],
    "A left pneumothorax is not apparent.": [("Pneumothorax", ABSENT, "left")],
    "A left effusion is not clearly seen.": [("Pleural effusion", OPEN, "left")],
    # What is gone
    "The right pneumothorax has resolved.": [("Pneumothorax", ABSENT, "right")],
    "The endotracheal tube has been removed.": [("Endotracheal tube", ABSENT, "")],
    "The right pneumothorax has now completely resolved.": [("Pneumothorax", ABSENT, "right")],
    "Resolved pneumothorax.": [("Pneumothorax", ABSENT, "")],
    # What is not gone, or not all of it
    "Pneumothorax and effusion are not seen.": [("Pleural effusion", ABSENT, "")],
    "Pneumothorax, effusion and consolidation are not seen.": [("Lung consolidation", ABSENT, "")],
    "A nodule and effusion is not seen.": [("Pleural effusion", ABSENT, "")],
    "Pneumothorax and effusion cannot be excluded.": [("Pleural effusion", OPEN, "")],
    "Pneumothorax and effusion are seen.": [("Pneumothorax", PRESENT, ""), ("Pleural effusion", PRESENT, "")],
    "It is unclear whether there is a pneumothorax.": [("Pneumothorax", OPEN, "")],
    "Some resolution of the effusion.": [],
    "The left pneumothorax has not resolved.": [],
    "The left pneumothorax has partially resolved.": [],
    "The left pneumothorax has gradually resolved.": [],
    "The endotracheal tube has not been removed.": [],
    "Partial resolution of the left effusion.": [],
    "Near-complete resolution of the left effusion.": [],
    "Incomplete clearing of the left effusion.": [],
    "No resolution of the left effusion.": [],
    "The left effusion has resolved only partially.": [],
    # Where a denial ends
    "After removal of the chest tube there is a small pneumothorax.": [
        ("Pneumothorax", PRESENT, ""),
        ("Chest tube", ABSENT, ""),
    ],
    "Interval removal of the right chest tube with tiny pneumothorax.": [
        ("Pneumothorax", PRESENT, ""),
        ("Chest tube", ABSENT, "right"),
    ],
    "Interval removal of the chest tube and pneumothorax.": [("Chest tube", ABSENT, "")],
    "The endotracheal tube has been removed, pneumothorax persists.": [("Endotracheal tube", ABSENT, "")],
    "No consolidation with small right effusion.": [
        ("Lung consolidation", ABSENT, ""),
        ("Pleural effusion", PRESENT, "right"),
    ],
    "No consolidation with effusion.": [("Lung consolidation", ABSENT, "")],
    "Heart size is normal, with no effusion.": [("Cardiomegaly", ABSENT, ""), ("Pleural effusion", ABSENT, "")],
    "No opacity consistent with pneumonia.": [("Opacity", ABSENT, ""), ("Pneumonia", ABSENT, "")],
    "I do not think there is a pneumothorax.": [("Pneumothorax", ABSENT, "")],
    # Sides: of several in one clause none is taken
    "The mediastinum is shifted to the right by a large left pleural effusion.": [("Pleural effusion", PRESENT, "")],
    "The right hemidiaphragm is elevated, with effusion on the left.": [("Pleural effusion", PRESENT, "")],
    "The right lung is clear, effusion is seen on the left.": [("Pleural effusion", PRESENT, "")],
    "The right lung is clear, effusion is not seen on the left.": [],
    "Both lungs are hyperinflated with effusion on the left.": [("Pleural effusion", PRESENT, "")],
    "Opacity in the right base and effusion on the left.": [
        ("Opacity", PRESENT, ""),
        ("Pleural effusion", PRESENT, ""),
    ],
    "No right effusion or left pneumothorax.": [],
    "Right and left effusions.": [("Pleural effusion", PRESENT, "bilateral")],
    "No right or left pneumothorax.": [("Pneumothorax", ABSENT, "bilateral")],
    "Left greater than right effusions.": [("Pleural effusion", PRESENT, "bilateral")],
    "Bilateral effusions, larger on the left.": [("Pleural effusion", PRESENT, "bilateral")],
    "No left pneumothorax or effusion.": [("Pneumothorax", ABSENT, "left"), ("Pleural effusion", ABSENT, "left")],
    "Bibasilar atelectasis.": [("Atelectasis", PRESENT, "bilateral")],
    "Left effusion. Right effusion.": [("Pleural effusion", PRESENT, "bilateral")],
    "No left effusion. No effusion.": [("Pleural effusion", ABSENT, "")],
    "No left effusion. Right effusion.": [("Pleural effusion", PRESENT, "right")],
    "Small effusions and bibasilar atelectasis.": [
        ("Atelectasis", PRESENT, "bilateral"),
        ("Pleural effusion", PRESENT, ""),
    ],
    "Edema, with layering right effusion.": [("Pulmonary edema", PRESENT, ""), ("Pleural effusion", PRESENT, "right")],
    "No pneumothorax, unchanged left atelectasis.": [("Pneumothorax", ABSENT, "")],
    # What has the name of a side and tells none
    "Pacemaker leads end in the right atrium and right ventricle.": [("Cardiac pacemaker", PRESENT, "")],
    "Left pacemaker with leads in the right atrium and right ventricle.": [("Cardiac pacemaker", PRESENT, "left")],
    "Pacemaker leads end in the right and left ventricle.": [("Cardiac pacemaker", PRESENT, "")],
    "A chest port ends in the right atrium.": [("Portacath", PRESENT, "")],
    "The central venous catheter ends at the right atrial level.": [("Central line", PRESENT, "")],
    "Right PICC ends in the right atrium.": [("Central line", PRESENT, "right")],
    "Right internal jugular central venous catheter ends in the right atrium.": [("Central line", PRESENT, "right")],
    "The central line ends in the right pulmonary artery.": [("Central line", PRESENT, "")],
    "Enlarged left ventricle with pulmonary edema.": [("Pulmonary edema", PRESENT, "")],
    "Right mainstem intubation with atelectasis.": [("Atelectasis", PRESENT, "")],
    "In the right clinical setting this is pneumonia.": [("Pneumonia", PRESENT, "")],
    "The trachea is deviated to the right by a mass.": [("Mass", PRESENT, "")],
    "Mediastinal shift to the left with pleural effusion.": [("Pleural effusion", PRESENT, "")],
    "The patient is rotated to the right, which hides an effusion.": [("Pleural effusion", PRESENT, "")],
    "Right apical mass, displaced clavicle.": [("Mass", PRESENT, "right")],
    "Left PICC ends in the SVC. Right chest tube.": [
        ("Central line", PRESENT, "left"),
        ("Chest tube", PRESENT, "right"),
    ],
    # Another image's
    "Right effusion, not seen on CT.": [],
    "Opacity at the left base, not seen on the lateral view.": [],
    "Nodule, which was not present on a chest radiograph of last year, is in the right apex.": [],
    "Effusion was not present in 2019.": [],
    "The right effusion is not seen on this study.": [("Pleural effusion", ABSENT, "right")],
    "The pneumothorax is not seen in the right lung.": [("Pneumothorax", ABSENT, "right")],
    "Pneumothorax is not seen on either side.": [("Pneumothorax", ABSENT, "")],
    # A doubt that is not that of what is denied
    "No change in opacity suspicious for pneumonia.": [("Opacity", PRESENT, ""), ("Pneumonia", OPEN, "")],
    "No effusion and findings concerning for pneumonia.": [("Pneumonia", OPEN, ""), ("Pleural effusion", ABSENT, "")],
    # Answers to headings
    "Edema: resolved.": [],
    "Pneumothorax: has resolved.": [("Pneumothorax", ABSENT, "")],
    "Chest tube: removed.": [],
    "Pneumonia: unlikely.": [("Pneumonia", OPEN, "")],
    "Pneumothorax: ?": [("Pneumothorax", OPEN, "")],
    "Pneumothorax: there is none.": [],
    # One out, another in
    "Interval removal of the endotracheal tube and placement of a feeding tube.": [
        ("Endotracheal tube", ABSENT, ""),
        ("Feeding tube", PRESENT, ""),
    ],
    # The heart
    "The heart is mildly enlarged.": [("Cardiomegaly", PRESENT, "")],
    "The cardiac silhouette is mild to moderately enlarged.": [("Cardiomegaly", PRESENT, "")],
    "Moderate enlargement of the cardiac silhouette.": [("Cardiomegaly", PRESENT, "")],
    "No cardiac enlargement.": [("Cardiomegaly", ABSENT, "")],
    "The heart is enlarged but stable.": [("Cardiomegaly", PRESENT, "")],
    "Heart size is within normal limits.": [("Cardiomegaly", ABSENT, "")],
    "The cardiomediastinal silhouette is normal.": [("Cardiomegaly", ABSENT, "")],
    "Heart size is top normal.": [],
    # Other things of the same name
    "Soft tissue edema.": [],
    "Mass effect on the trachea.": [],
    "A mass-like opacity in the right base.": [("Opacity", PRESENT, "right")],
    "Pericardial effusion.": [],
    "": [],
    "Limited study.": [],
}


@pytest.mark.parametrize(("text", "expected"), SENTENCES.items())
def test_what_a_text_says(text: str, expected: list[tuple[str, str, str]]) -> None:
    found = label(text).labels
    assert [(each.finding.meaning, each.presence.value, each.laterality.value) for each in found] == expected


def test_a_label_names_the_sentence_that_says_it() -> None:
    (effusion,) = label("The lungs are low.\nThere is a  small effusion. Stable.").labels
    assert effusion.sentence == "There is a small effusion."


def test_a_sentence_is_told_as_it_stands_in_the_text() -> None:
    text = "Low lungs. Atelectasis vs. pneumonia at the base."
    assert {each.sentence for each in label(text).labels} == {"Atelectasis vs. pneumonia at the base."}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lungs are well expanded with no focal consolidation, pleural\neffusion or nodule.", ABSENT),
        ("NO CONSOLIDATION IS SEEN AND THERE IS NO EVIDENCE OF ANY PLEURAL\n  EFFUSION OR NODULE.", ABSENT),
        ("No consolidation,\nEffusion or nodule.", ABSENT),
        ("There is no consolidation or\nEffusion.", ABSENT),
        ("No nodule.\nEffusion.", PRESENT),
        ("No nodule\nEffusion on the left", PRESENT),
        ("Nodule: no\nEffusion: small", PRESENT),
        ("The lungs are well expanded and there is no sign of a nodule\n\neffusion", PRESENT),
        ("THE LUNGS ARE WELL EXPANDED AND THERE IS NO SIGN OF A NODULE\nEFFUSION: SMALL", PRESENT),
    ],
)
def test_a_line_that_was_full_ends_no_sentence(text: str, expected: str) -> None:
    found = {each.finding.meaning: each for each in label(text).labels}
    assert found["Pleural effusion"].presence == expected


def test_a_finding_counts_as_present_where_sentences_differ() -> None:
    (effusion,) = label("No effusion. Possible effusion. Left effusion.").labels
    assert (effusion.presence, effusion.sentence) == (Presence.PRESENT, "Left effusion.")


def test_a_sentence_without_an_end_is_not_read() -> None:
    assert label("effusion " * 500).labels == ()
    assert [each.finding.meaning for each in label("effusion " * 500 + ". No nodule.").labels] == ["Nodule"]


# The phantom model's words

_CODES = {
    Kind.EFFUSION: "60046008",
    Kind.PNEUMOTHORAX: "36118008",
    Kind.CONSOLIDATION: "95436008",
    Kind.CARDIOMEGALY: "8186001",
    Kind.FRACTURE: "125605004",
    Kind.PACEMAKER: "14106009",
    Kind.TUBE: "26412008",
}


def _sides(text: str, kind: Kind) -> Laterality | None:
    """As the phantom's own reader has them; None if it does not find the kind."""
    sides = {side for found, side in read_findings(text) if found is kind}
    if not sides:
        return None
    if kind in SIDELESS:
        return Laterality.UNSAID
    return Laterality.BILATERAL if sides == {*Side} else Laterality(str(sides.pop()))


def test_it_reads_the_phantoms_words_as_the_phantoms_score_does() -> None:
    for seed in range(400):
        text = write_findings(draw_case(seed))
        found = {each.finding.value: each for each in label(text).labels if each.presence is Presence.PRESENT}
        for kind, code in _CODES.items():
            said = found.get(code)
            assert (said and said.laterality) == _sides(text, kind), (seed, kind)


# Any text


@settings(deadline=None)
@given(st.text(st.one_of(st.sampled_from("no left effusion, may be. \n;:and with"), st.characters())))
def test_any_text_can_be_read_and_kept(text: str) -> None:
    labels = label(text)
    assert labels_from_json(labels_to_json(labels)) == labels
    assert len({each.finding for each in labels.labels}) == len(labels.labels)


# Who it is


def test_it_says_what_it_is() -> None:
    assert "rule-based, for free text" in labeller().name
    assert len(labeller().name) <= 64  # LO
    assert len(labeller().digest) == 64


def test_its_digest_is_over_all_its_rules() -> None:
    sources = {path.name for path in files("workers.labelling").iterdir() if path.name.endswith(".py")}
    assert {*module._RULES} == sources - {"__init__.py"}


# Not in pydicom's dictionary; all but pneumonia in standards §2.4
_FROM_ELSEWHERE = {"8186001", "95436008", "233604007", "46621007", "125605004"}


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda each: each.code.value)
def test_code_meanings_are_those_of_the_standard(finding: Finding) -> None:
    value, scheme, meaning = finding.code.value, finding.code.scheme_designator, finding.code.meaning
    known = {(key, name.lower()) for entry in concepts[scheme].values() for key, (name, _) in entry.items()}
    assert (value, meaning.lower()) in known or value in _FROM_ELSEWHERE
