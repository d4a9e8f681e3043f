"""What goes out side by side, and what one after the other."""

from doubles import FakeDestination

from dicom_node.states import DeliveryKind
from integration.relay import turns


def test_a_ris_gets_one_message_at_a_time() -> None:
    draft, cancellation = FakeDestination("ris", DeliveryKind.ORU), FakeDestination("ris", DeliveryKind.CANCELLATION)
    other = FakeDestination("ris2", DeliveryKind.ORU)
    assert list(turns([draft, cancellation, other]).values()) == [[draft, cancellation], [other]]


def test_a_pacs_gets_its_kinds_of_objects_side_by_side() -> None:
    report, rejection = FakeDestination("pacs"), FakeDestination("pacs", DeliveryKind.REJECTION)
    assert list(turns([report, rejection]).values()) == [[report], [rejection]]
