"""The draft as text over the film."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from foreign import require_peer
from page_samples import draft, encoded
from pydicom.dataset import Dataset
from report_samples import CHECKS, FLAGS

from dicom_node.errors import InvalidOutput
from dicom_node.product import DISCLAIMER
from dicom_node.states import DeliveryKind
from integration.document import ReportDocument

GSPS = DeliveryKind.GSPS


def _texts(ds: Dataset) -> list[str]:
    return [text.UnformattedTextValue for text in ds.GraphicAnnotationSequence[0].TextObjectSequence]


def _words(document: ReportDocument) -> str:
    return " ".join(" ".join(_texts(encoded(GSPS, document))).split())


def test_the_draft_lies_over_the_film_in_a_layer_of_its_own(tmp_path: Path) -> None:
    document = draft(tmp_path, flags=FLAGS)
    ds = encoded(GSPS, document)
    words = _words(document)
    assert (ds.ContentLabel, ds.GraphicLayerSequence[0].GraphicLayer) == ("AI_DRAFT", "AIDRAFT")
    assert words.startswith(f"AI DRAFT, NOT REVIEWED {DISCLAIMER}")
    for each in (*CHECKS, "Cough, fever", "The heart size is normal."):
        assert each in words


def test_a_long_draft_is_cut_into_boxes_that_all_say_draft(tmp_path: Path) -> None:
    findings = " ".join(f"Sentence {number} is rather long." for number in range(300))
    document = draft(tmp_path, findings=findings)
    ds = encoded(GSPS, document)
    texts = _texts(ds)
    assert len(texts) > 5
    assert all(text.startswith("AI DRAFT, NOT REVIEWED") and len(text) <= 1024 for text in texts)
    assert findings in _words(document).replace(" AI DRAFT, NOT REVIEWED", "")
    boxes = ds.GraphicAnnotationSequence[0].TextObjectSequence
    edges = [(box.BoundingBoxTopLeftHandCorner[1], box.BoundingBoxBottomRightHandCorner[1]) for box in boxes]
    assert all(top < bottom <= 0.98 for top, bottom in edges)
    assert all(bottom < top for (_, bottom), (top, _) in pairwise(edges))


def test_the_film_is_shown_as_it_shows_itself(tmp_path: Path) -> None:
    header = {"RescaleSlope": "2", "RescaleIntercept": "-5", "PhotometricInterpretation": "MONOCHROME1"}
    ds = encoded(GSPS, draft(tmp_path, header=header))
    (voi,) = ds.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (2000, 3000)
    assert (ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType) == (2, -5, "US")
    assert ds.PresentationLUTShape == "INVERSE"
    (area,) = ds.DisplayedAreaSelectionSequence
    assert (area.DisplayedAreaBottomRightHandCorner, area.PresentationPixelAspectRatio) == ([40, 48], [1, 1])


def test_the_first_of_several_windows_is_repeated_with_its_function(tmp_path: Path) -> None:
    header = {"WindowCenter": ["2000", "100"], "WindowWidth": ["3000", "50"], "VOILUTFunction": "SIGMOID"}
    (voi,) = encoded(GSPS, draft(tmp_path, header=header)).SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (2000, 3000, "SIGMOID")


def test_a_window_without_a_width_is_none(tmp_path: Path) -> None:
    assert "SoftcopyVOILUTSequence" not in encoded(GSPS, draft(tmp_path, header={"WindowWidth": "0"}))


def test_a_voi_lut_of_the_film_is_repeated(tmp_path: Path) -> None:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [2, 0, 16])
    lut.add_new("LUTData", "US", [0, 65535])
    header = {"WindowCenter": None, "WindowWidth": None, "VOILUTSequence": [lut]}
    ds = encoded(GSPS, draft(tmp_path, header=header))
    (copied,) = ds.SoftcopyVOILUTSequence[0].VOILUTSequence
    assert (copied.LUTDescriptor, copied.LUTData) == ([2, 0, 16], [0, 65535])


def test_a_header_without_the_film_s_size_is_refused(tmp_path: Path) -> None:
    document = draft(tmp_path)
    del document.evidence["Rows"]
    with pytest.raises(InvalidOutput, match="Rows is missing"):
        encoded(GSPS, document)


def test_dcmtk_shows_it(tmp_path: Path) -> None:
    """ASCII alone: dcmpschk knows no UTF-8."""
    file = tmp_path / "state.dcm"
    encoded(GSPS, draft(tmp_path)).save_as(file)
    found = subprocess.run([require_peer("dcmpschk"), file], capture_output=True, check=False, timeout=60)
    assert b"Test passed" in found.stdout + found.stderr
