"""What of a signed report is about the film."""

import pytest

from workers.labelling.sections import findings_of

WHOLE = """INDICATION: Cough, pneumonia?
COMPARISON: Film of yesterday, with a pneumothorax.

FINDINGS:
Small left effusion.
LUNGS: Clear otherwise.

IMPRESSION: Effusion.
Electronically signed by: Dr. X"""


def test_the_findings_section_is_taken_with_its_own_small_headings() -> None:
    assert findings_of(WHOLE) == "Small left effusion.\nLUNGS: Clear otherwise."


@pytest.mark.parametrize(
    ("report", "findings"),
    [
        ("Findings\nClear lungs.\nImpression\nNormal.", "Clear lungs."),
        ("HISTORY: Fall. FINDINGS: No fracture. CONCLUSION: Normal.", "No fracture."),
        ("INDICATION: cough FINDINGS: Clear lungs. IMPRESSION: Normal.", "Clear lungs."),
        ("findings: Clear lungs.\n\nOPINION: Normal.", "Clear lungs."),
        ("FINDINGS AND IMPRESSION: Clear lungs.", "Clear lungs."),
        ("FINDINGS: One.\nIMPRESSION: Two.\nFINDINGS: Three.", "One.\nThree."),
    ],
)
def test_headings_stand_in_lines_of_their_own_or_before_a_colon(report: str, findings: str) -> None:
    assert findings_of(report) == findings


@pytest.mark.parametrize(
    ("report", "findings"),
    [
        ("Clear lungs.", "Clear lungs."),
        ("Indication: pneumothorax.\nImpression: Effusion, left.", "Effusion, left."),
        ("REASON FOR EXAM: effusion\nThe heart is normal.", ""),  # nothing says where the reason ends
        ("The findings are old. Impression of a mass: no.", "The findings are old. Impression of a mass: no."),
        ("REASON FOR EXAM:\n\neffusion\n \nThe heart is normal.\n\nSigned: A\n\nB", "The heart is normal."),
        ("INDICATION: cough\n\nClear lungs.\n\nCalm.\n\nIMPRESSION: Normal.", "Clear lungs.\n\nCalm.\nNormal."),
        ("INDICATION: cough\n\nof a week\n\nFINDINGS: Clear lungs.", "Clear lungs."),
        ("FINDINGS:\nIMPRESSION: Normal.", "Normal."),
        ("Smaller in comparison: it was large.", "Smaller in comparison: it was large."),
        ("", ""),
    ],
)  # fmt: skip
def test_without_a_findings_section_it_is_what_is_said_of_the_film(report: str, findings: str) -> None:
    assert findings_of(report) == findings
