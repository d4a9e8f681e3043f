"""The schema of audit messages, PS3.15 A.5.1.1, as tables; `violations` names what does not keep to it."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

TEXT = re.compile(r".*", re.DOTALL)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)")
NUMBER, BOOLEAN = re.compile(r"\d+"), re.compile("true|false")
CODED = {"csd-code": TEXT, "codeSystemName": TEXT, "originalText": TEXT, "displayName?": TEXT}

# name of an element → its attributes; a question mark: may be absent
ATTRIBUTES: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "AuditMessage": {},
    "EventIdentification": {
        "EventActionCode?": re.compile("[CRUDE]"),
        "EventDateTime": TIME,
        "EventOutcomeIndicator": re.compile("0|4|8|12"),
    },
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": {},
    "ActiveParticipant": {
        "UserID": TEXT,
        "AlternativeUserID?": TEXT,
        "UserName?": TEXT,
        "UserIsRequestor": BOOLEAN,
        "NetworkAccessPointID?": TEXT,
        "NetworkAccessPointTypeCode?": re.compile("[1-5]"),
    },
    "RoleIDCode": CODED,
    "AuditSourceIdentification": {"AuditEnterpriseSiteID?": TEXT, "AuditSourceID": TEXT},
    "AuditSourceTypeCode": {"csd-code": TEXT, "codeSystemName?": TEXT, "originalText?": TEXT},
    "ParticipantObjectIdentification": {
        "ParticipantObjectID": TEXT,
        "ParticipantObjectTypeCode?": re.compile("[1-4]"),
        "ParticipantObjectTypeCodeRole?": re.compile("[1-9]|1[0-9]|2[0-6]"),
        "ParticipantObjectDataLifeCycle?": re.compile("[1-9]|1[0-5]"),
        "ParticipantObjectSensitivity?": TEXT,
    },
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": {},
    "ParticipantObjectQuery": {},
    "ParticipantObjectDescription": {},
    "Accession": {"Number": TEXT},
    "SOPClass": {"UID?": TEXT, "NumberOfInstances": NUMBER},
}
# name of an element → its children in their order, as a pattern of their names
CHILDREN: Mapping[str, str] = {
    "AuditMessage": "EventIdentification (ActiveParticipant )+AuditSourceIdentification "
    "(ParticipantObjectIdentification )*",
    "EventIdentification": "EventID (EventTypeCode )*(EventOutcomeDescription )?",
    "ActiveParticipant": "(RoleIDCode )*",
    "AuditSourceIdentification": "(AuditSourceTypeCode )*",
    "ParticipantObjectIdentification": "ParticipantObjectIDTypeCode (ParticipantObjectName|ParticipantObjectQuery) "
    "(ParticipantObjectDescription )*",
    "ParticipantObjectDescription": "(Accession )*(SOPClass )*",
}


def violations(message: str) -> list[str]:
    """What is not by the schema. Raises ParseError if it is no XML."""
    root = ET.fromstring(message)
    found = [] if root.tag == "AuditMessage" else [f"the root is {root.tag}"]
    return [*found, *(words for element in root.iter() for words in _of_element(element))]


def _of_element(element: ET.Element) -> list[str]:
    if element.tag not in ATTRIBUTES:
        return [f"{element.tag} is not in the schema"]
    allowed = {name.rstrip("?"): pattern for name, pattern in ATTRIBUTES[element.tag].items()}
    required = [name for name in ATTRIBUTES[element.tag] if not name.endswith("?")]
    found = [f"{element.tag} lacks {name}" for name in required if name not in element.attrib]
    for name, value in element.attrib.items():
        if name not in allowed or not allowed[name].fullmatch(value):
            found.append(f"{element.tag} has {name}={value!r}")
    order = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(CHILDREN.get(element.tag, ""), order):
        found.append(f"{element.tag} holds {order}")
    return found
