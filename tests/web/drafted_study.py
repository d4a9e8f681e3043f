"""A study that has come all the way, as its rows tell it."""

import numpy as np
from doubles import NOON
from films import dx_bytes
from rows import add_delivery, add_job, add_report, receive
from sqlmodel import Session

from dicom_node import lifecycle
from dicom_node.attention import maps_to_png
from dicom_node.flags import Flag, FlagKind, flags_to_json
from dicom_node.models import Study
from dicom_node.receive.intake import Receiver
from dicom_node.states import DeliveryKind, DeliveryState, JobState, StudyState

FLAG = Flag(FlagKind.MEASUREMENT, "It states a size.", ((4, 9),))
ORU = b"MSH|^~\\&|CXRNODE|RADIOLOGY\rPID|1||CANARY-ID\rOBX|1|TX|||The lungs are clear.\r"


def add_drafted(session: Session, node: Receiver, job_state: JobState = JobState.DONE) -> Study:
    """A study whose draft one PACS has and one RIS refused or has not."""
    instance = receive(session, node.store)
    study = session.get_one(Study, 1)
    lifecycle.advance(session, study, StudyState.COMPLETE, now=NOON, reason="no image for the idle time")
    job = add_job(session, study, state=job_state)
    maps = maps_to_png(np.arange(64, dtype=np.uint8).reshape(1, 8, 8))
    flags = flags_to_json([FLAG])
    report = add_report(session, job, instance, flags=flags, model_is_synthetic=True, attention=maps)
    sent = {"payload": dx_bytes(), "identifier": "1.2.3", "ack_code": "0000", "reason": "stored"}
    add_delivery(session, report, state=DeliveryState.DELIVERED, **sent)
    refused = {"payload": ORU, "identifier": "M1", "ack_code": "AE", "reason": "the RIS said: no such order"}
    state = DeliveryState.FAILED if job_state == JobState.FAILED else DeliveryState.DELIVERED
    add_delivery(session, report, kind=DeliveryKind.ORU, destination="ris", state=state, **refused)
    return study
