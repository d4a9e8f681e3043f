"""What the gate lets leave as an SR, and what it refuses."""

from collections.abc import Callable
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from report_samples import (
    FINDINGS,
    FLAGS,
    PACS,
    SYNTHETIC_MODEL,
    make_document,
)

from dicom_node.errors import InvalidOutput
from integration.sr_element import make_item
from integration.sr_gate import check_sr
from integration.structured_report import build_sr, encode_sr


def _damage(change: Callable[[Dataset], object]) -> bytes:
    ds = build_sr(make_document())
    change(ds)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _item(ds: Dataset, *path: int) -> Dataset:
    for position in path:
        ds = ds.ContentSequence[position]
    return ds


def _set(keyword: str, value: object) -> Callable[[Dataset], object]:
    return lambda ds: setattr(ds, keyword, value)


def _predecessor() -> Dataset:
    report = make_item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", ReferencedSOPInstanceUID="1.2.3")
    series = make_item(SeriesInstanceUID="1.2.3", ReferencedSOPSequence=[report])
    return make_item(StudyInstanceUID="1.2.3", ReferencedSeriesSequence=[series])


MUTATIONS: dict[str, tuple[str, Callable[[Dataset], object]]] = {
    "verified": ("VerificationFlag", _set("VerificationFlag", "VERIFIED")),
    "final": ("PreliminaryFlag", _set("PreliminaryFlag", "FINAL")),
    "complete": ("CompletionFlag", _set("CompletionFlag", "COMPLETE")),
    "product": ("ContentQualification", _set("ContentQualification", "PRODUCT")),
    "other class": ("SOPClassUID", _set("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.22")),
    "other patient": ("PatientID", _set("PatientID", "P0002")),
    "no patient": ("PatientID", _set("PatientID", "")),
    "other name": ("PatientName", _set("PatientName", "OTHER^PHI")),
    "replaced name": ("PatientName", _set("PatientName", "CAN?RY^PHI")),
    "other birthday": ("PatientBirthDate", _set("PatientBirthDate", "19600103")),
    "other sex": ("PatientSex", _set("PatientSex", "M")),
    "other accession": ("AccessionNumber", _set("AccessionNumber", "ACC0002")),
    "other study": ("StudyInstanceUID", _set("StudyInstanceUID", "1.2.3")),
    "other instance": ("SOPInstanceUID", _set("SOPInstanceUID", "1.2.3")),
    "verifying observer": ("VerifyingObserverSequence", _set("VerifyingObserverSequence", [Dataset()])),
    "person as author": (
        "AuthorObserverSequence",
        lambda ds: setattr(ds.AuthorObserverSequence[0], "ObserverType", "PSN"),
    ),
    "no author": ("AuthorObserverSequence", _set("AuthorObserverSequence", [])),
    "lost text": ("finding", lambda ds: setattr(_item(ds, -1, 0), "TextValue", "The heart size is normal.")),
    "replaced text": ("finding", lambda ds: setattr(_item(ds, -1, 0), "TextValue", FINDINGS.replace("z", "?"))),
    "no finding": ("finding", lambda ds: ds.ContentSequence.pop()),
    "a predecessor": ("Predecessor", _set("PredecessorDocumentsSequence", [_predecessor()])),
    "two findings": ("finding", lambda ds: ds.ContentSequence.append(_item(ds, -1))),
    "disclaimer last": ("first text", lambda ds: ds.ContentSequence.append(ds.ContentSequence.pop(-3))),
    "other disclaimer": ("first text", lambda ds: setattr(_item(ds, -3, 0), "TextValue", "Reviewed.")),
    "no image": ("image reference", lambda ds: _item(ds, -1, 0).__delattr__("ContentSequence")),
    "other image": (
        "image reference",
        lambda ds: setattr(_item(ds, -1, 0, 0).ReferencedSOPSequence[0], "ReferencedSOPInstanceUID", "1.2.3"),
    ),
    "no evidence": ("Evidence", lambda ds: ds.__delattr__("CurrentRequestedProcedureEvidenceSequence")),
    "other evidence": (
        "Evidence",
        lambda ds: setattr(ds.CurrentRequestedProcedureEvidenceSequence[0], "StudyInstanceUID", "1.2.3"),
    ),
}


@pytest.mark.parametrize(("field", "change"), MUTATIONS.values(), ids=MUTATIONS)
def test_gate_refuses(field: str, change: Callable[[Dataset], object]) -> None:
    with pytest.raises(InvalidOutput, match=field) as caught:
        check_sr(_damage(change), make_document())
    assert "PHI" not in str(caught.value)
    assert "P000" not in str(caught.value)


@pytest.mark.parametrize(("flags", "gated"), [((), FLAGS), (FLAGS, ()), (FLAGS, FLAGS[:1]), (FLAGS, FLAGS[::-1])])
def test_gate_refuses_other_checks_than_those_of_the_draft(flags: tuple[str, ...], gated: tuple[str, ...]) -> None:
    payload = encode_sr(make_document(flags=flags), PACS).payload
    with pytest.raises(InvalidOutput, match="checks"):
        check_sr(payload, make_document(flags=gated))


def test_gate_refuses_a_synthetic_draft_that_does_not_say_so() -> None:
    payload = encode_sr(make_document(), PACS).payload
    with pytest.raises(InvalidOutput, match="is not what the draft says"):
        check_sr(payload, make_document(model=SYNTHETIC_MODEL))


def test_gate_refuses_what_is_no_dicom_file() -> None:
    with pytest.raises(InvalidOutput, match="not a DICOM file"):
        check_sr(b"", make_document())


def test_gate_lets_the_report_pass() -> None:
    check_sr(_damage(lambda ds: None), make_document())


# Codes
