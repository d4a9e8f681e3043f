"""What the audit trail has of objects that came."""

from xml.etree.ElementTree import fromstring

from dicom_node.config import Settings


def transfers(settings: Settings, event: str = "110104") -> list[tuple[int, str]]:
    """Of each DICOM Instances Transferred, or Import: how many objects, and of whom."""
    lines = [line for file in settings.audit_dir.glob("*") for line in file.read_text(encoding="utf-8").splitlines()]
    messages = [fromstring(line) for line in lines if event in line]
    patient = "ParticipantObjectIdentification[@ParticipantObjectTypeCode='1']"
    return [
        (
            sum(int(each.attrib["NumberOfInstances"]) for each in message.iter("SOPClass")),
            message.findall(patient)[0].attrib["ParticipantObjectID"],
        )
        for message in messages
    ]
