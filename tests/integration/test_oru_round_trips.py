"""Any text, into an ORU, over the wire and out again: read by hl7apy, by python-hl7 and by a Node.js library."""

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass

import hl7
import pytest
from delivery_peers import unescaping_receiver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_samples import FLAGS, make_document
from test_oru_profiles import TEXT_TYPES, VERSIONS, known_to_hl7apy, read_with_hl7apy, ris, text_of
from test_sr_round_trips import TEXTS
from waiting import LONG_S

from dicom_node.peers import MllpDestination
from integration.destinations import Outcome
from integration.mllp import MllpSender
from integration.oru_text import draft_lines

ESCAPES = st.lists(st.sampled_from(["\\.br\\", "\\X0A\\", "\\E\\", "\\F\\", "\\H\\", "\\", "|~^&", '""', "\n", "\r\n"]))


@dataclass(frozen=True)
class Reader:
    """The Node.js library, which has written down what it read."""

    port: int
    said: Iterator[str]

    def read(self, payload: bytes, to: MllpDestination) -> list[str]:
        """The lines of the text. It leaves the line breaks of an FT as they are."""
        assert MllpSender(to.model_copy(update={"port": self.port})).send(payload).outcome is Outcome.DELIVERED
        values = [value for kind, value in json.loads(next(self.said)) if kind == to.text_type]
        return b64decode(values[0]).decode().split("\r\n") if to.text_type == "ED" else values


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    said = tmp_path_factory.mktemp("reader") / "said"
    with unescaping_receiver(said) as port, said.open(encoding="utf-8") as lines:
        yield Reader(port, iter(lines.readline, None))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    findings=st.one_of(TEXTS, ESCAPES.map("".join)),
    version=st.sampled_from(VERSIONS),
    text_type=st.sampled_from(TEXT_TYPES),
)
def test_three_strangers_read_the_text_as_it_was_written(
    findings: str, version: str, text_type: str, reader: Reader
) -> None:
    to = ris(version=version, text_type=text_type, timeout_s=LONG_S)
    document = make_document(findings=f"x{findings}x", flags=FLAGS)
    payload = MllpSender(to).encode(document).payload
    lines = [line for line in draft_lines(document) if line or text_type != "TX"]
    assert text_of(hl7.parse(payload.decode()), to) == lines
    assert read_with_hl7apy(payload.decode(), to) == known_to_hl7apy(lines, to)
    assert reader.read(payload, to) == (["\\.br\\".join(lines)] if text_type == "FT" else lines)
