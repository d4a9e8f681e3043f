"""DICOM audit messages (PS3.15 A.5), each one line of XML by the schema of A.5.1. Pure: values in, text out."""

import re
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, tostring

Code = tuple[str, str, str]  # csd-code, codeSystemName, originalText

# PS3.16 CID 400: events
APPLICATION_ACTIVITY: Code = ("110100", "DCM", "Application Activity")
INSTANCES_TRANSFERRED: Code = ("110104", "DCM", "DICOM Instances Transferred")
INSTANCES_ACCESSED: Code = ("110103", "DCM", "DICOM Instances Accessed")
STUDY_DELETED: Code = ("110105", "DCM", "DICOM Study Deleted")
EXPORT: Code = ("110106", "DCM", "Export")
IMPORT: Code = ("110107", "DCM", "Import")
QUERY: Code = ("110112", "DCM", "Query")
SECURITY_ALERT: Code = ("110113", "DCM", "Security Alert")
USER_AUTHENTICATION: Code = ("110114", "DCM", "User Authentication")
# PS3.16 CID 401, 403: their types
APPLICATION_START: Code = ("110120", "DCM", "Application Start")
APPLICATION_STOP: Code = ("110121", "DCM", "Application Stop")
LOGIN: Code = ("110122", "DCM", "Login")
LOGOUT: Code = ("110123", "DCM", "Logout")
NODE_AUTHENTICATION: Code = ("110126", "DCM", "Node Authentication")
USER_SECURITY_ATTRIBUTES_CHANGED: Code = ("110137", "DCM", "User Security Attributes Changed")
PEER_TESTED: Code = ("peer-tested", "99CXRNODE", "Peer tested")  # the standard has none
# PS3.16 CID 402: roles
APPLICATION: Code = ("110150", "DCM", "Application")
DESTINATION: Code = ("110152", "DCM", "Destination Role ID")
SOURCE: Code = ("110153", "DCM", "Source Role ID")
DESTINATION_MEDIA: Code = ("110154", "DCM", "Destination Media")
SOURCE_MEDIA: Code = ("110155", "DCM", "Source Media")
# PS3.16 CID 404, PS3.15 A.5.1.2.4: what identifies an object
STUDY_INSTANCE_UID: Code = ("110180", "DCM", "Study Instance UID")
PATIENT_NUMBER: Code = ("2", "RFC-3881", "Patient Number")
SEARCH_CRITERIA: Code = ("10", "RFC-3881", "Search Criteria")
USER_IDENTIFIER: Code = ("11", "RFC-3881", "User Identifier")
URI: Code = ("12", "RFC-3881", "URI")

# PS3.15 A.5.1.1: codes of the schema itself
_SUCCESS, _MINOR_FAILURE = "0", "4"
_CREATE, _READ, _UPDATE, _DELETE, _EXECUTE = "C", "R", "U", "D", "E"
_IP_ADDRESS = "2"
_APPLICATION_SERVER = "4"
_PERSON, _SYSTEM_OBJECT = "1", "2"
_PATIENT, _REPORT, _SECURITY_USER, _DATA_DESTINATION, _QUERY = "1", "3", "11", "15", "24"
_ORIGINATION, _IMPORT = "1", "2"

# What XML 1.0 cannot hold, and what some reader may take for the end of the line
_UNFIT = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Process:
    """This process, as its log names it."""

    ae_title: str
    pid: int


@dataclass(frozen=True)
class Sender:
    """Who sends to this process."""

    address: str  # IPv4 or IPv6
    calling_ae: str = ""  # empty: did not come so far as to say it


@dataclass(frozen=True)
class Person:
    """Who uses the page of this process."""

    name: str  # as the person logged in, or tried to
    address: str  # IPv4 or IPv6
    subject: str = ""  # of who comes in by an identity provider: its issuer and subject identifier, which never change


@dataclass(frozen=True)
class Transfer:
    """The objects of one study that came on one association, or by one import."""

    study_instance_uid: str
    patient_id: str  # (0010,0020); empty if the header has none
    instances: dict[str, int] = field(default_factory=dict)  # SOP Class UID → how many


def application_activity(process: Process, at: datetime, kind: Code) -> str:
    """The process started or stopped (PS3.15 A.5.3.1)."""
    message = _message(APPLICATION_ACTIVITY, at, action=_EXECUTE, kind=kind)
    _add_process(message, process, role=APPLICATION)
    _add_source(message, process)
    return tostring(message, encoding="unicode")


def security_alert(process: Process, at: datetime, sender: Sender, why: str) -> str:
    """The process turned somebody away (PS3.15 A.5.3.11): a failure that did no harm."""
    message = _message(SECURITY_ALERT, at, action=_EXECUTE, kind=NODE_AUTHENTICATION, failure=why)
    _add_process(message, process)
    _add_sender(message, sender, is_requestor=False)  # PS3.15 table A.5.3.11-1: shall be
    _add_source(message, process)
    return tostring(message, encoding="unicode")


def user_authentication(process: Process, at: datetime, person: Person, kind: Code, failure: str = "") -> str:
    """A person logged in or out, or could not (PS3.15 A.5.3.12)."""
    message = _message(USER_AUTHENTICATION, at, action=_EXECUTE, kind=kind, failure=failure)
    _add_person(message, person)
    _add_process(message, process)
    _add_source(message, process)
    return tostring(message, encoding="unicode")


def instances_accessed(
    process: Process, at: datetime, person: Person, study_instance_uid: str, patient_id: str, *, is_change: bool
) -> str:
    """A person looked at a study, or did something to it (PS3.15 A.5.3.6)."""
    message = _message(INSTANCES_ACCESSED, at, action=_UPDATE if is_change else _READ)
    _add_person(message, person)
    _add_process(message, process)
    _add_source(message, process)
    _add_study(message, study_instance_uid, patient_id)
    return tostring(message, encoding="unicode")


def study_deleted(process: Process, at: datetime, study_instance_uid: str, patient_id: str) -> str:
    """The process removed the images of a study (PS3.15 A.5.3.8)."""
    message = _message(STUDY_DELETED, at, action=_DELETE)
    _add_participant(message, {"UserID": str(process.pid)}, is_requestor=True, role=None)
    _add_source(message, process)
    _add_study(message, study_instance_uid, patient_id)
    return tostring(message, encoding="unicode")


def study_exported(process: Process, at: datetime, person: Person, study_instance_uid: str, patient_id: str) -> str:
    """A person had a study written into a folder of this machine (PS3.15 A.5.3.4)."""
    message = _message(EXPORT, at, action=_READ)
    _add_person(message, person, role=SOURCE)
    _add_process(message, process, role=SOURCE)
    _add_participant(message, {"UserID": "a folder"}, is_requestor=False, role=DESTINATION_MEDIA)
    _add_source(message, process)
    _add_study(message, study_instance_uid, patient_id)
    return tostring(message, encoding="unicode")


def query(process: Process, at: datetime, person: Person, words: str) -> str:
    """A person had studies listed (PS3.15 A.5.3.10), by these words or all of them."""
    message = _message(QUERY, at, action=_EXECUTE)
    _add_person(message, person)
    _add_process(message, process, role=DESTINATION)
    _add_source(message, process)
    found = _add_object(message, "worklist", SEARCH_CRITERIA, _SYSTEM_OBJECT, _QUERY)
    name = found.find("ParticipantObjectName")
    if words and name is not None:
        found.remove(name)
        SubElement(found, "ParticipantObjectQuery").text = b64encode(words.encode(errors="replace")).decode()
    return tostring(message, encoding="unicode")


def user_changed(process: Process, at: datetime, person: Person, user: str) -> str:
    """A person let somebody in or out, or changed a password (PS3.15 A.5.3.11)."""
    message = _message(SECURITY_ALERT, at, action=_EXECUTE, kind=USER_SECURITY_ATTRIBUTES_CHANGED)
    _add_person(message, person)
    _add_process(message, process)
    _add_source(message, process)
    _add_object(message, user, USER_IDENTIFIER, _SYSTEM_OBJECT, _SECURITY_USER)
    return tostring(message, encoding="unicode")


def peer_tested(process: Process, at: datetime, person: Person, peer: str, failure: str = "") -> str:
    """A person had a PACS or RIS asked whether it answers."""
    message = _message(APPLICATION_ACTIVITY, at, action=_EXECUTE, kind=PEER_TESTED, failure=failure)
    _add_person(message, person)
    _add_process(message, process, role=APPLICATION)
    _add_source(message, process)
    _add_object(message, peer, URI, _SYSTEM_OBJECT, _DATA_DESTINATION)
    return tostring(message, encoding="unicode")


def instances_transferred(
    process: Process, at: datetime, sender: Sender, transfer: Transfer, *, is_fetched: bool = False
) -> str:
    """The process holds a study's objects that it was sent, or fetched by C-GET (PS3.15 A.5.3.7)."""
    message = _message(INSTANCES_TRANSFERRED, at, action=_CREATE)
    _add_sender(message, sender, is_requestor=not is_fetched, role=SOURCE)
    _add_process(message, process, is_requestor=is_fetched, role=DESTINATION)
    _add_source(message, process)
    _add_transfer(message, transfer, _ORIGINATION)
    return tostring(message, encoding="unicode")


def instances_imported(process: Process, at: datetime, person: Person, transfer: Transfer) -> str:
    """A person had a study's objects read from files of this machine; the process holds them (PS3.15 A.5.3.5)."""
    message = _message(IMPORT, at, action=_CREATE)
    _add_person(message, person, role=DESTINATION)
    _add_process(message, process, role=DESTINATION)
    _add_participant(message, {"UserID": "files"}, is_requestor=False, role=SOURCE_MEDIA)
    _add_source(message, process)
    _add_transfer(message, transfer, _IMPORT)
    return tostring(message, encoding="unicode")


def _add_transfer(message: Element, transfer: Transfer, life_cycle: str) -> None:
    study = _add_study(message, transfer.study_instance_uid, transfer.patient_id)
    study.set("ParticipantObjectDataLifeCycle", life_cycle)
    description = SubElement(study, "ParticipantObjectDescription")
    for sop_class_uid, count in transfer.instances.items():
        SubElement(description, "SOPClass", UID=_clean(sop_class_uid), NumberOfInstances=str(count))


def _message(event: Code, at: datetime, *, action: str, kind: Code | None = None, failure: str = "") -> Element:
    message = Element("AuditMessage")
    identification = SubElement(
        message,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=_MINOR_FAILURE if failure else _SUCCESS,
    )
    _add_code(identification, "EventID", event)
    if kind:
        _add_code(identification, "EventTypeCode", kind)
    if failure:
        SubElement(identification, "EventOutcomeDescription").text = _clean(failure)
    return message


def _add_process(message: Element, process: Process, *, is_requestor: bool = False, role: Code | None = None) -> None:
    names = {"UserID": str(process.pid), "AlternativeUserID": f"AETITLES={process.ae_title}"}
    _add_participant(message, names, is_requestor=is_requestor, role=role)


def _add_person(message: Element, person: Person, *, role: Code | None = None) -> None:
    names = {"UserID": _clean(person.name)}
    if person.subject:
        names["AlternativeUserID"] = _clean(person.subject)  # PS3.15 A.5.2.2
    place = {"NetworkAccessPointID": _clean(person.address), "NetworkAccessPointTypeCode": _IP_ADDRESS}
    _add_participant(message, names | place, is_requestor=True, role=role)


def _add_sender(message: Element, sender: Sender, *, is_requestor: bool, role: Code | None = None) -> None:
    names = {"UserID": _clean(sender.calling_ae or sender.address)}
    if sender.calling_ae:
        names["AlternativeUserID"] = _clean(f"AETITLES={sender.calling_ae}")
    place = {"NetworkAccessPointID": _clean(sender.address), "NetworkAccessPointTypeCode": _IP_ADDRESS}
    _add_participant(message, names | place, is_requestor=is_requestor, role=role)


def _add_participant(message: Element, names: dict[str, str], *, is_requestor: bool, role: Code | None) -> None:
    participant = SubElement(message, "ActiveParticipant", names, UserIsRequestor=str(is_requestor).lower())
    if role:
        _add_code(participant, "RoleIDCode", role)


def _add_source(message: Element, process: Process) -> None:
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID=process.ae_title)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})


def _add_study(message: Element, study_instance_uid: str, patient_id: str) -> Element:
    """The study's element, before the one of its patient."""
    study = _add_object(message, study_instance_uid, STUDY_INSTANCE_UID, _SYSTEM_OBJECT, _REPORT)
    _add_object(message, patient_id, PATIENT_NUMBER, _PERSON, _PATIENT)
    return study


def _add_object(message: Element, identifier: str, identified_by: Code, kind: str, role: str) -> Element:
    found = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_clean(identifier),
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _add_code(found, "ParticipantObjectIDTypeCode", identified_by)
    SubElement(found, "ParticipantObjectName")  # the schema demands one; the patient's stays out of this file, too
    return found


def _add_code(parent: Element, name: str, code: Code) -> None:
    value, system, meaning = code
    SubElement(parent, name, {"csd-code": value, "codeSystemName": system, "originalText": meaning})


def _clean(text: str) -> str:
    """The text with a sign in the place of whatever is not fit for a line of XML."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
