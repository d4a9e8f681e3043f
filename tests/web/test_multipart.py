"""multipart/related in any pieces: the same parts come out, however the body was cut."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.web.multipart import BadMultipart, MultipartParser

BOUNDARY = b"cut here"
HEADERS = b"Content-Type: application/dicom"


def body_of(
    parts: list[bytes], *, headers: bytes = HEADERS + b"\r\n", preamble: bytes = b"", epilogue: bytes = b""
) -> bytes:
    framed = [b"--" + BOUNDARY + b"\r\n" + headers + b"\r\n" + part + b"\r\n" for part in parts]
    return preamble + b"".join(framed) + b"--" + BOUNDARY + b"--" + epilogue


def parsed(chunks: list[bytes]) -> tuple[list[bytes], bool]:
    """The whole parts, and whether the last delimiter came."""
    parser, parts, content = MultipartParser(BOUNDARY), [], b""
    for chunk in chunks:
        for piece in parser.feed(chunk):
            content += piece.content
            if piece.is_last:
                parts.append(content)
                content = b""
    return parts, parser.is_complete


def cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    return [body[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


PARTS = [b"one", b"", b"\r\n--cut her\r\n\r\n--\r\n", b"-cut here"]


@pytest.mark.parametrize(
    "body",
    [
        body_of(PARTS),
        body_of(PARTS, headers=b""),
        body_of(PARTS, preamble=b"Hello\r\n--\r\n", epilogue=b"\r\n--cut here\r\n\r\nno part"),
        body_of(PARTS).replace(b"--cut here\r\n", b"--cut here \t\r\n"),
    ],
    ids=["headers", "no headers", "preamble and epilogue", "padding"],
)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_parts_come_out_as_they_went_in(body: bytes, step: int) -> None:
    assert parsed([body[at : at + step] for at in range(0, len(body), step)]) == (PARTS, True)


def test_a_part_of_headers_alone_is_empty() -> None:
    body = b"--cut here\r\nContent-Type: text/plain\r\n\r\n--cut here\r\n\r\nnext\r\n--cut here--"
    assert parsed([body]) == ([b"", b"next"], True)


NEAR_DELIMITERS = [b"\r", b"\n", b"-", b"--", b"\r\n", b"\r\n--", b"cut here", b" ", b"\0", b"\xff", b"ab"]
near_delimiters = st.lists(st.sampled_from(NEAR_DELIMITERS), max_size=20).map(b"".join)
whole_parts = near_delimiters.filter(lambda part: b"\r\n--" + BOUNDARY not in b"\r\n" + part + b"\r\n")


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(whole_parts, max_size=5), places=st.lists(st.integers(0, 2**16), max_size=30))
def test_it_does_not_matter_where_a_body_is_cut(parts: list[bytes], places: list[int]) -> None:
    assert parsed(cut(body_of(parts), places)) == (parts, True)


WORDS = [b"--cut here", b"--cut here--", b"\r\n", b" ", b"-", b"a: b", b"x"]
bodies = st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(body=bodies, places=st.lists(st.integers(0, 2**16), max_size=30))
def test_what_is_refused_or_found_does_not_depend_on_the_cuts_either(body: bytes, places: list[int]) -> None:
    def found(chunks: list[bytes]) -> tuple[list[bytes], bool] | str:
        try:
            return parsed(chunks)
        except BadMultipart as error:
            return str(error)

    assert found(cut(body, places)) == found([body])


@settings(max_examples=100, deadline=None)
@given(garbage=st.binary(max_size=2000), places=st.lists(st.integers(0, 2**16), max_size=10))
def test_garbage_is_no_part(garbage: bytes, places: list[int]) -> None:
    assert parsed(cut(garbage, places))[0] == []


@pytest.mark.parametrize("end", range(1, len(body_of([b"content"]))))
def test_a_body_that_is_cut_short_is_not_complete(end: int) -> None:
    assert not parsed([body_of([b"content"])[:end]])[1]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"--cut here\r\n" + b"X: " + b"y" * 9000, "headers of more than 8192 bytes"),
        (b"--cut here\r\n" + b"X: " + b"y" * 9000 + b"\r\n\r\n", "headers of more than 8192 bytes"),
        (b"--cut here and there\r\n\r\n", "expected the end of the line"),
        (b"--cut here-\r\n\r\n", "expected the end of the line"),
        (b"--cut here\r \r\n\r\n", "expected the end of the line"),
        (b"--cut here" + b" " * 300, "expected the end of the line"),
        (b"--cut here\n\n", "expected the end of the line"),
    ],
)
def test_what_is_no_multipart_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadMultipart, match=words):
        parsed([body])


def test_a_large_part_is_handed_on_without_being_kept() -> None:
    parser, chunk, size = MultipartParser(BOUNDARY), b"\r\n--cut her" * 10_000, 0
    list(parser.feed(b"--cut here\r\n\r\n" + b"x" * 100))
    for _ in range(100):
        size += sum(len(piece.content) for piece in parser.feed(chunk))
        assert sys.getsizeof(parser._buffer) < 2 * len(chunk)
    assert size >= 99 * len(chunk)
