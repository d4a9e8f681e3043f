"""The last look at a Secondary Capture before it leaves."""

import numpy as np
from numpy.typing import NDArray

from integration.document import ReportDocument
from integration.page_gate import check_header, check_source, require_equal
from integration.page_header import CAPTURE

WORKSTATION = "WSD"  # PS3.3 C.8.6.1, (0008,0064)
DERIVED = "DERIVED\\SECONDARY"  # PS3.3 C.7.6.1.1.2, (0008,0008)


def check_capture(payload: bytes, document: ReportDocument, pixels: NDArray[np.uint8]) -> None:
    """Raises InvalidOutput unless the bytes show these pixels, for this patient, as a picture with text in it."""
    stated = {"ConversionType": WORKSTATION, "ImageType": DERIVED, "BurnedInAnnotation": "YES"}
    written = check_header(payload, document, CAPTURE, stated)
    check_source(written.items("SourceImageSequence"), document)
    ds = written.dataset
    require_equal("size of the image", (ds.Rows, ds.Columns), pixels.shape)
    require_equal("PixelData", ds.PixelData[: pixels.size], pixels.tobytes())
