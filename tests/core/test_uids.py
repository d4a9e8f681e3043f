"""Identifiers that are derived and not drawn."""

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.uids import derive_control_id, derive_uid

PARTS = st.lists(st.text(st.characters(blacklist_characters="\x1f", blacklist_categories=["Cs"])), min_size=1)


def test_a_derived_uid_is_the_same_in_every_release() -> None:
    assert derive_uid("report", "1") == "2.25.282572567428648712018963844360723298506"


@given(PARTS)
def test_equal_parts_give_an_equal_and_valid_uid(parts: list[str]) -> None:
    uid = derive_uid(*parts)
    assert uid == derive_uid(*parts)
    assert uid.is_valid
    assert len(uid) <= 44


@given(PARTS, PARTS)
def test_different_parts_give_different_identifiers(one: list[str], other: list[str]) -> None:
    assert (derive_uid(*one) == derive_uid(*other)) == (one == other)
    assert (derive_control_id(*one) == derive_control_id(*other)) == (one == other)


def test_parts_are_not_run_together() -> None:
    assert derive_uid("ab", "c") != derive_uid("a", "bc")


@given(PARTS)
def test_a_control_id_fits_msh_10(parts: list[str]) -> None:
    control_id = derive_control_id(*parts)
    assert control_id == derive_control_id(*parts)
    assert len(control_id) == 20
    assert control_id.isalnum()
