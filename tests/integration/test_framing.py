import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import PeerUnreachable
from integration.framing import Deframer, frame


@given(
    messages=st.lists(
        st.binary(max_size=60).filter(lambda each: b"\x0b" not in each and b"\x1c" not in each), max_size=5
    ),
    noise=st.binary(max_size=9).filter(lambda each: b"\x0b" not in each and b"\x1c" not in each),
    cuts=st.lists(st.integers(min_value=1, max_value=7), max_size=200),
)
def test_messages_survive_any_split_of_the_stream(messages: list[bytes], noise: bytes, cuts: list[int]) -> None:
    stream = b"".join(noise + frame(each) for each in messages)
    deframer, got = Deframer(), []

    for size in cuts:
        got += deframer.feed(stream[:size])
        stream = stream[size:]
    got += deframer.feed(stream)

    assert got == messages


def test_block_cut_off_by_the_next_one_is_dropped() -> None:
    assert Deframer().feed(b"\x0bMSH|half" + frame(b"MSH|whole")) == [b"MSH|whole"]


@pytest.mark.parametrize("beginning", [b"MSH|", b"\xef\xbb\xbf\r\nMSH|", b"BHS|"])
def test_a_start_of_block_within_a_text_begins_nothing(beginning: bytes) -> None:
    report = beginning + b"\rOBX|1|TX|||One line\x0band another\r"
    assert Deframer().feed(b"\x0bMSH|half\x0brest" + frame(report)) == [report]


def test_end_without_a_start_is_dropped() -> None:
    assert Deframer().feed(b"rest\x1c\r" + frame(b"MSH|whole")) == [b"MSH|whole"]


def test_noise_is_not_kept_and_an_unfinished_message_shows_its_beginning() -> None:
    deframer = Deframer(max_bytes=100)
    for _ in range(10):
        assert deframer.feed(b"noise" * 20) == []
    assert len(deframer) == 0
    deframer.feed(b"noise\x0bMSH|unfinished")
    assert (len(deframer), deframer.beginning(6)) == (15, b"MSH|un")


def test_message_above_the_limit_is_refused() -> None:
    deframer = Deframer(max_bytes=100)
    assert deframer.feed(frame(b"x" * 90)) == [b"x" * 90]

    with pytest.raises(PeerUnreachable, match="more than 100 bytes"):
        deframer.feed(b"\x0b" + b"x" * 100)
