"""Reading a PDF again: the words on each page, and a page as pixels."""

import threading

import numpy as np
import pypdfium2
from numpy.typing import NDArray

_one_at_a_time = threading.Lock()  # PDFium is made for one thread; each destination has its own


def read_words(pdf: bytes) -> tuple[str, ...]:
    """What a reader of each page can select and search."""
    with _one_at_a_time, pypdfium2.PdfDocument(pdf) as document:
        return tuple(page.get_textpage().get_text_bounded() for page in document)


def paint(pdf: bytes, width_px: int) -> NDArray[np.uint8]:
    """The first page as (H, W) uint8, grey."""
    with _one_at_a_time, pypdfium2.PdfDocument(pdf) as document:
        page = document[0]
        bitmap = page.render(scale=width_px / page.get_width(), grayscale=True)
        return np.array(bitmap.to_numpy(), dtype=np.uint8)
