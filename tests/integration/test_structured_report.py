import logging
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code
from report_samples import (
    CHECKS,
    FINDINGS,
    FLAGS,
    MODEL,
    PACS,
    SYNTHETIC_MODEL,
    SYNTHETIC_OPENING,
    as_received,
    make_code,
    make_document,
    make_header,
    make_request,
    read_leniently,
)

from dicom_node.errors import InvalidOutput
from dicom_node.peers import SrClass
from dicom_node.product import DISCLAIMER, MANUFACTURER
from integration import findings_content, sr_content, sr_header, sr_item
from integration.document import Predecessor
from integration.source_header import tag_of
from integration.sr_element import make_item
from integration.sr_header import SR_CLASSES
from integration.sr_identity import sr_series_instance_uid, sr_sop_instance_uid
from integration.structured_report import build_sr, encode_sr

TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")


def _texts(ds: Dataset) -> Iterator[tuple[str, str]]:
    for item in ds.get("ContentSequence", []):
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS":
            yield item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue
        yield from _texts(item)


def _reread(document_changes: dict[str, object] | None = None, **header: object) -> Dataset:
    document = make_document(as_received(make_header(**header)), **(document_changes or {}))
    return dcmread(BytesIO(encode_sr(document, PACS).payload))


# What it says


def test_header_says_draft_by_a_device() -> None:
    ds = _reread()
    assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    assert (ds.ContentQualification, ds.Modality, ds.SeriesNumber) == ("RESEARCH", "SR", 9901)
    assert ds.SeriesDescription == "AI DRAFT CXR report (not reviewed)"
    assert [author.ObserverType for author in ds.AuthorObserverSequence] == ["DEV"]
    assert "VerifyingObserverSequence" not in ds
    assert ds.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"


def test_patient_and_study_are_those_of_the_image() -> None:
    source, ds = make_header(), _reread()
    for keyword in (*TYPE_2, "StudyInstanceUID", "AccessionNumber", "StudyDescription", "IssuerOfPatientID"):
        assert ds[keyword].value == source[keyword].value, keyword


def test_text_begins_with_the_disclaimer() -> None:
    assert list(_texts(_reread())) == [
        ("Summary", DISCLAIMER),
        ("Request", "Cough, fever"),
        ("Finding", FINDINGS.replace("\n", "\r\n")),
    ]


def test_what_to_check_follows_the_disclaimer_and_the_finding_stays_as_it_is() -> None:
    assert list(_texts(_reread({"flags": FLAGS}))) == [
        ("Summary", DISCLAIMER),
        *(("Summary", line) for line in CHECKS),
        ("Request", "Cough, fever"),
        ("Finding", FINDINGS.replace("\n", "\r\n")),
    ]


def test_report_of_a_synthetic_model_says_so_first_and_in_the_list_of_series() -> None:
    ds = _reread({"model": SYNTHETIC_MODEL})
    assert next(_texts(ds)) == ("Summary", f"{SYNTHETIC_OPENING}\r\n{DISCLAIMER}")
    assert ds.SeriesDescription == "SYNTHETIC TEST MODEL, AI DRAFT CXR report (not reviewed)"
    assert ds.SeriesInstanceUID != _reread().SeriesInstanceUID  # one series, one description


def test_no_indication_no_section() -> None:
    assert [name for name, _ in _texts(_reread({"indication": " "}))] == ["Summary", "Finding"]


def test_finding_is_inferred_from_the_image_in_evidence() -> None:
    ds = _reread()
    finding = ds.ContentSequence[-1].ContentSequence[0]
    image = finding.ContentSequence[0].ReferencedSOPSequence[0]
    evidence = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert finding.ContentSequence[0].RelationshipType == "INFERRED FROM"
    assert image.ReferencedSOPInstanceUID == evidence.ReferencedSOPInstanceUID == make_header().SOPInstanceUID


def test_model_is_contributing_equipment_and_observer() -> None:
    ds = _reread()
    (model,) = ds.ContributingEquipmentSequence
    observer = {item.ConceptNameCodeSequence[0].CodeValue: item for item in ds.ContentSequence}
    assert model.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert model.SoftwareVersions == [MODEL.version, MODEL.digest]
    assert model.DeviceUID == observer["121012"].UID == ds.AuthorObserverSequence[0].DeviceUID
    assert model.ManufacturerModelName == observer["121015"].TextValue == MODEL.name


def test_each_node_is_a_device_of_its_own() -> None:
    ds, other = _reread(), _reread({"node_name": "OTHER"})
    assert ds.DeviceUID == ds.InstanceCreatorUID != other.DeviceUID == other.InstanceCreatorUID


def test_it_bears_the_manufacturer_that_selection_refuses_to_read() -> None:
    assert _reread().Manufacturer == MANUFACTURER


def test_request_of_the_image_is_referenced() -> None:
    ds = _reread(RequestAttributesSequence=[make_request()])
    (request,) = ds.ReferencedRequestSequence
    assert request.PlacerOrderNumberImagingServiceRequest == "PLC1"
    assert request.FillerOrderNumberImagingServiceRequest == "FIL1"
    assert request.RequestedProcedureID == "RP1"
    assert request.ReasonForTheRequestedProcedure == "Cough"
    assert request.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
    assert request.StudyInstanceUID == ds.StudyInstanceUID
    assert [item.ConceptCodeSequence[0].CodeValue for item in ds.ContentSequence[1:2]] == ["36643-5"]


def test_other_patient_ids_without_their_type_are_left_out() -> None:
    typed, untyped = make_item(PatientID="P2", TypeOfPatientID="TEXT"), make_item(PatientID="P3")
    (kept,) = _reread(OtherPatientIDsSequence=[typed, untyped]).OtherPatientIDsSequence
    assert (kept.PatientID, kept.TypeOfPatientID) == ("P2", "TEXT")


def test_a_request_of_another_study_says_so() -> None:
    """Of images of several requests, each may name a study of its own."""
    request = make_request()
    request.StudyInstanceUID = "1.2.3"
    (referenced,) = _reread(RequestAttributesSequence=[request]).ReferencedRequestSequence
    assert referenced.StudyInstanceUID == "1.2.3"


def test_incomplete_procedure_codes_are_left_out() -> None:
    too_long = make_item(CodeValue="X" * 17, CodingSchemeDesignator="L", CodeMeaning="too long")
    ds = _reread(ProcedureCodeSequence=[too_long, make_code("", "", ""), make_code("CXR", "99SITE", "Chest")])
    assert [code.CodeValue for code in ds.ProcedureCodeSequence] == ["CXR"]


def test_times_are_in_the_zone_of_the_object() -> None:
    assert (_reread().ContentDate, _reread().ContentTime) == ("20260801", "123000")
    with_offset = _reread(TimezoneOffsetFromUTC="-0530")
    assert (with_offset.ContentTime, with_offset.TimezoneOffsetFromUTC) == ("050000", "-0530")
    assert "TimezoneOffsetFromUTC" not in _reread()


# Stable identifiers


def test_equal_documents_give_equal_bytes() -> None:
    first = encode_sr(make_document(as_received(make_header())), PACS)
    assert encode_sr(make_document(as_received(make_header())), PACS) == first
    assert encode_sr(make_document(make_header()), PACS) == first


def test_new_draft_has_a_new_instance_in_the_same_series() -> None:
    first, second = make_document(), make_document(revision=2)
    assert sr_sop_instance_uid(first) != sr_sop_instance_uid(second)
    assert sr_series_instance_uid(first) == sr_series_instance_uid(second)
    assert encode_sr(second, PACS).identifier == sr_sop_instance_uid(second)
    assert build_sr(second).InstanceNumber == 2


def test_drafts_of_a_series_agree_on_its_attributes() -> None:
    """PS3.3 A.1.2.3: one series, one set of series attributes, whenever the draft was made."""
    first = build_sr(make_document())
    second = build_sr(make_document(revision=2, drafted_at=make_document().drafted_at.replace(year=2027)))
    series = [element.keyword for element in first if element.keyword.startswith("Series")]
    assert [first[keyword] for keyword in series] == [second[keyword] for keyword in series]


# Headers that real senders spoil


@pytest.mark.parametrize("keyword", [*TYPE_2, "AccessionNumber", "ReferringPhysicianName"])
def test_missing_type_2_becomes_empty(keyword: str) -> None:
    ds = _reread(**{keyword: None})
    assert keyword in ds
    assert not ds[keyword].value


@pytest.mark.parametrize(
    ("keyword", "value", "written"),
    [
        ("PatientSex", b"U", ""),
        ("PatientSex", b"M ", "M"),
        ("PatientBirthDate", b"00000000", ""),
        ("PatientBirthDate", b"d14a028c2a3a2bc9", ""),
        ("PatientBirthDate", b"1960.01.02", "19600102"),
        ("PatientBirthDate", b"196012", ""),
        ("StudyDate", b"20260231", ""),
        ("StudyTime", b"10:15:00", ""),
        ("StudyTime", b"101500.123", "101500.123"),
        ("PatientAge", b"58", None),
        ("PatientWeight", b"heavy", None),
        ("PatientWeight", b"70.5", "70.5"),
        ("PatientWeight", b"0.000", None),
        ("PatientSize", b"0 ", None),
        ("PatientSize", b"1.70", "1.70"),
        ("TimezoneOffsetFromUTC", b"local", None),
        ("PatientID", b" P1\0", "P1"),
        ("AccessionNumber", b"A" * 56, ""),
        ("PatientName", b"A^B\x0b\x1c", "A^B"),
    ],
)
def test_illegal_values_are_read_as_empty_and_identifiers_kept(
    keyword: str, value: bytes, written: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    header = as_received(make_header())
    tag = tag_of(keyword)
    header[tag] = RawDataElement(tag, None, len(value), value, 0, True, True)
    with caplog.at_level(logging.DEBUG):
        payload = encode_sr(make_document(header), PACS).payload
    assert caplog.text == ""
    assert read_leniently(payload, keyword) == (written or "")
    assert (keyword in dcmread(BytesIO(payload))) is (written is not None)


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.7", "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.1.30"])
def test_any_sop_class_can_be_evidence(sop_class: str) -> None:
    ds = _reread(SOPClassUID=sop_class)
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPClassUID == sop_class


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_without_its_image_there_is_no_report(keyword: str) -> None:
    evidence = make_header(**{keyword: None})
    with pytest.raises(InvalidOutput, match=keyword):
        encode_sr(make_document(evidence), PACS)


@pytest.mark.parametrize("field", ["findings", "disclaimer"])
@pytest.mark.parametrize("text", ["", " \r\n\t", "\x00\x0b"])
def test_without_text_there_is_no_report(field: str, text: str) -> None:
    with pytest.raises(InvalidOutput, match=field):
        encode_sr(make_document(**{field: text}), PACS)


# By destination


@pytest.mark.parametrize(("sr_class", "uid"), SR_CLASSES.items())
def test_the_tree_is_the_same_in_the_sop_class_of_the_destination(sr_class: SrClass, uid: str) -> None:
    encoded = encode_sr(make_document(), PACS.model_copy(update={"sr_class": sr_class}))
    ds = dcmread(BytesIO(encoded.payload))
    assert (ds.SOPClassUID, ds.file_meta.MediaStorageSOPClassUID) == (uid, uid)
    assert ds.ContentSequence == build_sr(make_document()).ContentSequence
    assert (ds.SOPInstanceUID == sr_sop_instance_uid(make_document())) is (sr_class == "basic")


def test_objects_of_two_sop_classes_are_two_instances_of_one_series() -> None:
    documents = [make_document(sr_class=sr_class) for sr_class in SR_CLASSES]
    assert len({sr_sop_instance_uid(each) for each in documents}) == 3
    assert len({sr_series_instance_uid(each) for each in documents}) == 1


def test_a_new_revision_names_the_draft_that_it_replaces() -> None:
    before = Predecessor(
        revision=1,
        drafted_at=make_document().drafted_at,
        sop_class_uid=SR_CLASSES["basic"],
        sop_instance_uid=sr_sop_instance_uid(make_document()),
        series_instance_uid=sr_series_instance_uid(make_document()),
    )
    ds = _reread({"revision": 2, "predecessor": before})
    (study,) = ds.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (report,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == ds.StudyInstanceUID
    assert series.SeriesInstanceUID == ds.SeriesInstanceUID
    assert report.ReferencedSOPInstanceUID == _reread().SOPInstanceUID != ds.SOPInstanceUID
    without_sr = replace(before, sop_class_uid="", sop_instance_uid="", series_instance_uid="")
    for predecessor in (None, without_sr):
        assert "PredecessorDocumentsSequence" not in _reread({"predecessor": predecessor})


# Codes


CODES = [
    code
    for module in (sr_header, sr_item, sr_content, findings_content)
    for code in vars(module).values()
    if isinstance(code, Code) and code.scheme_designator in ("DCM", "LN", "SCT")
]


@pytest.mark.parametrize("code", dict.fromkeys(CODES), ids=lambda code: code.value)
def test_code_meanings_are_those_of_the_standard(code: Code) -> None:
    """No validator looks at the meanings of header codes (standards §1)."""
    known = {(key, name) for entry in concepts[code.scheme_designator].values() for key, (name, _) in entry.items()}
    assert (code.value, code.meaning) in known or (code.value, f"{code.meaning} (procedure)") in known
