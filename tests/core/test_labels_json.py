"""What a labeller found is stored and read back as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.coding import Code

from dicom_node.labels import Label, Labeller, Labels, Laterality, Presence, labels_from_json, labels_to_json

TEXT = st.text(max_size=20)
LABEL = st.builds(
    Label,
    finding=st.tuples(TEXT, TEXT, TEXT).map(lambda code: Code(*code)),
    presence=st.sampled_from(Presence),
    laterality=st.sampled_from(Laterality),
    sentence=TEXT,
)


@settings(deadline=None)
@given(st.builds(Labels, st.builds(Labeller, TEXT, TEXT, TEXT), st.lists(LABEL, max_size=3).map(tuple)))
def test_labels_come_back_from_the_database_as_they_were(labels: Labels) -> None:
    assert labels_from_json(labels_to_json(labels)) == labels


def test_a_draft_that_no_labeller_has_read_has_none() -> None:
    assert labels_from_json("") is None


def test_a_word_that_this_version_does_not_know_is_refused() -> None:
    labels = Labels(Labeller("a", "1", "d"), (Label(Code("1", "SCT", "x"), Presence.ABSENT, Laterality.UNSAID, "No."),))
    with pytest.raises(ValueError, match="doubtful"):
        labels_from_json(labels_to_json(labels).replace("absent", "doubtful"))
