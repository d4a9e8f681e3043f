"""What the header of a phantom film says: patient, order, acquisition and view."""

from datetime import datetime

from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from dicom_node.errors import InvalidHeader
from dicom_node.uids import derive_uid
from workers.phantom.case import Case, View
from workers.phantom.habits import Habits

# View Position (PS3.3 C.8.11.5, C.8.1.1), Patient Orientation, and the view of PS3.16 CID 4010
_VIEWS = {
    View.PA: ("PA", ["L", "F"], ("272479007", "postero-anterior")),
    View.AP: ("AP", ["L", "F"], ("399348003", "antero-posterior")),
    View.LATERAL: ("LL", ["P", "F"], ("399173006", "left lateral")),
}


def write_header(ds: Dataset, case: Case, habits: Habits, patient: tuple[str, str, str], studied_at: datetime) -> None:
    """Fill a data set with all but the pixels; a mirrored film says what an unmirrored one would.

    patient: name, id, accession number. Raises InvalidHeader if studied_at is naive.
    """
    name, patient_id, accession_number = patient
    _write_patient(ds, name, patient_id)
    _write_order(ds, accession_number, case)
    _write_uids(ds, (str(case.seed), patient_id, accession_number), (repr(case), repr(habits)))
    _write_times(ds, studied_at)
    _write_acquisition(ds, case)
    if habits.modality == "DX":
        ds.SOPClassUID = DigitalXRayImageStorageForPresentation
        _write_dx(ds, case)
    else:
        ds.SOPClassUID, ds.Modality = ComputedRadiographyImageStorage, "CR"


def _write_patient(ds: Dataset, patient_name: str, patient_id: str) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = patient_name
    ds.PatientID = patient_id
    ds.PatientBirthDate = "19600229"
    ds.PatientSex = "O"


def _write_order(ds: Dataset, accession_number: str, case: Case) -> None:
    ds.AccessionNumber = accession_number
    ds.StudyID = accession_number
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Chest"
    request = Dataset()
    request.RequestedProcedureID = "RP-" + accession_number[:13]  # SH, at most 16 characters
    request.RequestedProcedureDescription = "Chest radiograph"
    if case.indication:
        request.ReasonForTheRequestedProcedure = case.indication
    request.ScheduledProcedureStepID = "SP-" + accession_number[:13]
    ds.RequestAttributesSequence = [request]


def _write_uids(ds: Dataset, study: tuple[str, ...], film: tuple[str, ...]) -> None:
    ds.StudyInstanceUID = derive_uid("phantom-study", *study)
    ds.SeriesInstanceUID = derive_uid("phantom-series", *study, *film)
    ds.SOPInstanceUID = derive_uid("phantom-film", *study, *film)
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1


def _write_times(ds: Dataset, studied_at: datetime) -> None:
    if studied_at.utcoffset() is None:
        raise InvalidHeader(f"studied_at = {studied_at.isoformat()}, expected a time with an offset")
    ds.TimezoneOffsetFromUTC = studied_at.strftime("%z")[:5]
    for event in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{event}Date", studied_at.strftime("%Y%m%d"))
        setattr(ds, f"{event}Time", studied_at.strftime("%H%M%S"))


def _write_acquisition(ds: Dataset, case: Case) -> None:
    position, orientation, _ = _VIEWS[case.view]
    ds.Manufacturer = "dicom-node phantom"
    ds.ManufacturerModelName = "phantom film"
    ds.SeriesDescription = f"Synthetic chest {position}"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = position
    ds.PatientOrientation = orientation
    ds.BurnedInAnnotation = "NO"  # the L is lead in the beam, as on any film
    ds.LossyImageCompression = "00"
    ds.AcquisitionContextSequence = []


def _write_dx(ds: Dataset, case: Case) -> None:
    """What a DX image needs beyond a CR image."""
    ds.Modality = "DX"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.DetectorType = "DIRECT"
    ds.PositionerType = "NONE"
    ds.ImageLaterality = "U"
    ds.AnatomicRegionSequence = [_code("51185008", "Chest")]
    view = _code(*_VIEWS[case.view][2])
    view.ViewModifierCodeSequence = []
    ds.ViewCodeSequence = [view]


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code
