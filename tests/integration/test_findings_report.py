"""The coded findings for machines: what they say, who says it, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import highdicom as hd
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from report_samples import (
    FINDINGS,
    FLAGS,
    LABELS,
    MODEL,
    PACS,
    SYNTHETIC_MODEL,
    as_received,
    make_code,
    make_document,
    make_header,
)

from dicom_node.errors import InvalidOutput, NothingToTell
from dicom_node.labels import Label, Labels, Laterality
from dicom_node.product import DISCLAIMER
from integration.document import ModelIdentity, ReportDocument
from integration.findings_content import LATERALITIES, PRESENCES
from integration.findings_gate import check_findings
from integration.findings_report import build_findings, encode_findings
from integration.objects import ENCODERS
from integration.sr_file import to_bytes
from integration.structured_report import build_sr


def _document(**changes: object) -> ReportDocument:
    return make_document(**{"labels": LABELS, **changes})


def _reread(**changes: object) -> Dataset:
    return dcmread(BytesIO(encode_findings(_document(**changes), PACS).payload))


def _item(ds: Dataset, *names: str) -> Dataset:
    for name in names:
        ds = next(each for each in ds.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue == name)
    return ds


# What they say


def test_highdicom_reads_a_group_for_each_label() -> None:
    report = hd.sr.Comprehensive3DSR.from_dataset(_reread())
    groups = report.content.get_image_measurement_groups()
    said = []
    for group in groups:
        (evaluation,), (site,) = group.get_qualitative_evaluations(), group.finding_sites
        assert evaluation.name == group.finding_type
        said.append((group.finding_type, evaluation.value, site.laterality))
    assert said == [
        (label.finding, PRESENCES[label.presence], LATERALITIES.get(label.laterality)) for label in LABELS.labels
    ]
    assert {image.referenced_sop_instance_uid for group in groups for image in group.source_images} == {
        make_header().SOPInstanceUID
    }


def test_header_says_draft_by_a_device() -> None:
    ds = _reread()
    assert (ds.SOPClassUID, ds.Modality, ds.SeriesNumber) == (Comprehensive3DSRStorage, "SR", 9902)
    assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert ds.SeriesDescription == "AI DRAFT CXR findings (not reviewed)"
    assert _reread(model=SYNTHETIC_MODEL).SeriesDescription.startswith("SYNTHETIC TEST MODEL")
    assert ds.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_it_is_another_object_in_another_series_than_the_report() -> None:
    ds, report = _reread(), build_sr(_document())
    assert ds.SOPInstanceUID != report.SOPInstanceUID
    assert ds.SeriesInstanceUID != report.SeriesInstanceUID
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        assert ds[keyword].value == report[keyword].value


def test_disclaimer_checks_and_draft_stand_beside_the_codes() -> None:
    texts = [item.TextValue for item in _item(_reread(flags=FLAGS), "C0034375").ContentSequence]
    assert texts[0] == DISCLAIMER
    assert [text.startswith("Check: ") for text in texts] == [False, True, True, False]
    assert texts[-1] == FINDINGS.replace("\n", "\r\n")


def test_procedure_reported_is_that_of_the_image_or_imaging_of_the_chest() -> None:
    assert _item(_reread(), "121058").ConceptCodeSequence[0].CodeMeaning == "Chest imaging"
    header = make_header(ProcedureCodeSequence=[make_code("CXR", "99SITE", "Chest PA")])
    assert _item(_reread(evidence=as_received(header)), "121058").ConceptCodeSequence[0].CodeValue == "CXR"


# Who says it (IHE AIR 6.5.3.1)


def test_model_and_labeller_are_processing_equipment_and_the_labeller_observes() -> None:
    ds = _reread()
    model, labeller = ds.ContributingEquipmentSequence
    assert {each.PurposeOfReferenceCodeSequence[0].CodeValue for each in (model, labeller)} == {"109102"}
    assert (model.ManufacturerModelName, labeller.ManufacturerModelName) == (MODEL.name, LABELS.labeller.name)
    assert labeller.SoftwareVersions == [LABELS.labeller.version, LABELS.labeller.digest]
    assert labeller.DeviceUID == _item(ds, "121012").UID == ds.AuthorObserverSequence[0].DeviceUID
    assert labeller.ManufacturerModelName == _item(ds, "121015").TextValue
    group = _item(ds, "126010", "125007")
    names = _item(group, "111001").TextValue, _item(group, "111003").TextValue
    assert names == (labeller.ManufacturerModelName, LABELS.labeller.version)


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        (replace(MODEL, digest="ef" * 32), LABELS),  # other weights, prompt or settings
        (MODEL, replace(LABELS, labeller=replace(LABELS.labeller, digest="ef" * 32))),
    ],
    ids=["model", "labeller"],
)
def test_another_model_or_labeller_is_another_device(model: ModelIdentity, labels: Labels) -> None:
    first, second = _reread(), _reread(model=model, labels=labels)
    assert first.ContributingEquipmentSequence[1].DeviceUID != second.ContributingEquipmentSequence[1].DeviceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_equal_documents_give_equal_bytes() -> None:
    assert encode_findings(_document(), PACS) == encode_findings(_document(), PACS)


def test_any_sop_class_can_be_evidence() -> None:
    """highdicom's own report would not take these."""
    for sop_class in ("1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.1.30"):
        header = as_received(make_header(SOPClassUID=sop_class))
        library = _item(_reread(evidence=header), "111028", "126200")
        assert library.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPClassUID == sop_class


# What is refused


@pytest.mark.parametrize("labels", [None, replace(LABELS, labels=())], ids=["no labeller", "no label"])
def test_without_labels_there_is_nothing_to_tell(labels: Labels | None) -> None:
    with pytest.raises(NothingToTell, match="nothing to code"):
        encode_findings(_document(labels=labels), PACS)


def test_every_kind_of_object_for_a_pacs_has_its_encoder() -> None:
    objects = type(PACS).model_fields["objects"].annotation
    assert {kind for kind in ENCODERS if kind.value in str(objects)} >= {"sr", "findings"}


def _first_label(**changes: object) -> Labels:
    first, *others = LABELS.labels
    return replace(LABELS, labels=(replace(first, **changes), *others))  # type: ignore[arg-type]  # by name


def _code(*path: str) -> Callable[[Dataset], Dataset]:
    return lambda ds: _item(ds, "126010", "125007", *path).ConceptCodeSequence[0]


MUTATIONS: dict[str, tuple[str, Callable[[Dataset], object]]] = {
    "verified": ("VerificationFlag", lambda ds: setattr(ds, "VerificationFlag", "VERIFIED")),
    "final": ("PreliminaryFlag", lambda ds: setattr(ds, "PreliminaryFlag", "FINAL")),
    "partial": ("CompletionFlag", lambda ds: setattr(ds, "CompletionFlag", "PARTIAL")),
    "other patient": ("PatientID", lambda ds: setattr(ds, "PatientID", "P0002")),
    "other study": ("StudyInstanceUID", lambda ds: setattr(ds, "StudyInstanceUID", "1.2.3")),
    "no labeller": ("ContributingEquipment", lambda ds: ds.ContributingEquipmentSequence.pop()),
    "other finding": ("findings", lambda ds: setattr(_code("121071")(ds), "CodeValue", "36118008")),
    "other scheme": ("findings", lambda ds: setattr(_code("121071")(ds), "CodingSchemeDesignator", "99SITE")),
    "absent": ("findings", lambda ds: setattr(_code("60046008")(ds), "CodeValue", "272519000")),
    "other side": ("findings", lambda ds: setattr(_code("363698007", "272741003")(ds), "CodeValue", "24028007")),
    "lost group": ("findings", lambda ds: _item(ds, "126010").ContentSequence.pop()),
    "other algorithm": (
        "algorithm",
        lambda ds: setattr(_item(ds, "126010", "125007", "111001"), "TextValue", "CheXbert"),
    ),
    "no measurements": ("Imaging Measurements", lambda ds: ds.ContentSequence.remove(_item(ds, "126010"))),
    "other disclaimer": ("comments", lambda ds: setattr(_item(ds, "C0034375", "121106"), "TextValue", "Reviewed.")),
    "replaced text": ("finding", lambda ds: setattr(_item(ds, "C0034375", "121071"), "TextValue", "Normal.")),
    "no image": (
        "image reference",
        lambda ds: setattr(
            _item(ds, "126010", "125007", "121112").ReferencedSOPSequence[0], "ReferencedSOPInstanceUID", "1.2.3"
        ),
    ),
    "no evidence": ("Evidence", lambda ds: ds.__delattr__("CurrentRequestedProcedureEvidenceSequence")),
}


@pytest.mark.parametrize(("field", "change"), MUTATIONS.values(), ids=MUTATIONS)
def test_gate_refuses(field: str, change: Callable[[Dataset], object]) -> None:
    ds = build_findings(_document(), LABELS)
    change(ds)
    with pytest.raises(InvalidOutput, match=field) as caught:
        check_findings(to_bytes(ds), _document(), LABELS)
    assert "P000" not in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [
        _first_label(laterality=Laterality.RIGHT),
        _first_label(laterality=Laterality.UNSAID),
        _first_label(presence=LABELS.labels[1].presence),
        replace(LABELS, labels=LABELS.labels[:-1]),
        replace(LABELS, labels=LABELS.labels[::-1]),
    ],
)
def test_gate_refuses_other_labels_than_those_of_the_draft(labels: Labels) -> None:
    payload = encode_findings(_document(), PACS).payload
    with pytest.raises(InvalidOutput, match="findings"):
        check_findings(payload, _document(), labels)


def test_every_laterality_and_presence_has_its_code() -> None:
    assert {*LATERALITIES, Laterality.UNSAID} == {*Laterality}
    assert {label.presence for label in LABELS.labels} == {*PRESENCES}
    assert all(isinstance(label, Label) for label in LABELS.labels)
