"""What a sender says is coming, before it comes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Announcement:
    """A C-STORE-RQ (PS3.7 9.3.1.1) and the presentation context it came in, or what stands for them elsewhere."""

    sop_class_uid: str  # (0000,0002)
    sop_instance_uid: str  # (0000,1000)
    transfer_syntax_uid: str
    calling_ae: str
    study_instance_uid: str = ""  # where the sender names one beside: the object must belong to it (PS3.18 10.5.1.1)
