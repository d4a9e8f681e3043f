"""Writing elements, items and codes without pydicom's value warnings, which would name the patient."""

from collections.abc import Iterable

from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code

from integration.source_header import SourceHeader, tag_of

_CODE_SIZES = {"CodeValue": 16, "CodingSchemeDesignator": 16, "CodeMeaning": 64}  # PS3.3 8.8, type 1


def put(target: Dataset, keyword: str, value: str | Iterable[Dataset]) -> None:
    """Set an element by keyword: a string (several values joined by the backslash), or the items of a sequence."""
    tag = tag_of(keyword)
    vr = dictionary_VR(tag)
    content = value if isinstance(value, str) else Sequence(value)
    target[tag] = DataElement(tag, vr, content, validation_mode=config.IGNORE)


def make_item(**values: str | Iterable[Dataset]) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        put(item, keyword, value)
    return item


def code_item(code: Code) -> Dataset:
    """Source: PS3.3 8.8, Code Sequence Macro."""
    return make_item(CodeValue=code.value, CodingSchemeDesignator=code.scheme_designator, CodeMeaning=code.meaning)


def read_codes(header: SourceHeader, keyword: str) -> tuple[Code, ...]:
    """The codes of a sequence that are complete and short enough to be legal; the others are left out."""
    found = (tuple(item.text(name) for name in _CODE_SIZES) for item in header.items(keyword))
    sizes = tuple(_CODE_SIZES.values())
    legal = (each for each in found if all(0 < len(text) <= size for text, size in zip(each, sizes, strict=True)))
    return tuple(Code(value, designator, meaning) for value, designator, meaning in legal)
