"""Any text, into an SR and out again: read by pydicom, and by DCMTK as a web page."""

import html
import re
import subprocess
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from foreign import require_peer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from report_samples import LABELS, PACS, make_document, make_header

from integration.findings_report import encode_findings
from integration.report_text import split_lines
from integration.structured_report import encode_sr

# Delimiters, line ends, C0 and C1 controls, markup, right-to-left, marks of direction, beyond the basic plane
AWKWARD = "|^~\\&=\r\n\t\x00\x07\x0b\x0c\x1b\x1c\x7f\x85<>\"'äöß≤山ﾔ김שעﷺ\u200f\u202e\u2028\ufeff😀👩‍⚕️"
TEXTS = st.text(st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=())))


def _texts(ds: Dataset) -> Iterator[tuple[str, str]]:
    for item in ds.get("ContentSequence", []):
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS":
            yield item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue
        yield from _texts(item)


@settings(deadline=None)
@given(findings=TEXTS, indication=TEXTS)
def test_text_comes_back_as_it_was_written(findings: str, indication: str) -> None:
    document = make_document(findings=f"x{findings}x", indication=indication)
    texts = dict(_texts(dcmread(BytesIO(encode_sr(document, PACS).payload))))
    assert texts["Finding"].split("\r\n") == list(split_lines(document.findings))
    assert texts.get("Request", "") == "\r\n".join(split_lines(indication))


@settings(deadline=None, max_examples=50)
@given(findings=TEXTS)
def test_the_draft_beside_the_codes_comes_back_too(findings: str) -> None:
    document = make_document(findings=f"x{findings}x", labels=LABELS)
    texts = dict(_texts(dcmread(BytesIO(encode_findings(document, PACS).payload))))
    assert texts["Finding"].split("\r\n") == list(split_lines(document.findings))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(findings=TEXTS)
def test_dcmtk_shows_the_text_as_it_was_written(findings: str, tmp_path: Path) -> None:
    document = make_document(findings=f"[begin]{findings}[end]")
    file = tmp_path / "report.dcm"
    file.write_bytes(encode_sr(document, PACS).payload)
    page = subprocess.run([require_peer("dsr2html"), file], capture_output=True, check=True).stdout.decode()
    (shown,) = re.findall(r"\[begin\].*?\[end\]", page, re.DOTALL)
    assert html.unescape(shown.replace("<br>\n", "\n")) == "\n".join(split_lines(document.findings))


@settings(deadline=None, max_examples=120)
@given(
    name=st.text(st.sampled_from("AbäÄ山やﾔ김^= "), max_size=30),
    terms=st.sampled_from(
        [
            None,
            "ISO_IR 13",
            "ISO_IR 100",
            "ISO_IR 192",
            "GB18030",
            "ISO 2022 IR 87",
            ["", "ISO 2022 IR 87"],
            ["", "ISO 2022 IR 149"],
            ["ISO 2022 IR 13", "ISO 2022 IR 87"],
            ["ISO 2022 IR 6", "ISO 2022 IR 100", "ISO 2022 IR 159"],
            ["ISO 2022 IR 6", "ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 58"],
        ]
    ),
    findings=st.text(st.sampled_from("aä山ﾔ김\\~\n ¥"), max_size=10),
)
def test_every_text_passes_the_gate_in_every_character_set(
    name: str, terms: str | list[str] | None, findings: str
) -> None:
    """Made in memory, as Unicode: the report must find a set that holds it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom on the name, while the sample is made
        evidence = make_header(PatientName=name, SpecificCharacterSet=terms)
    assert encode_sr(make_document(evidence, findings=f"x{findings}x"), PACS).payload
