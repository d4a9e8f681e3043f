"""Which studies are here only to be compared with."""

from sqlmodel import Session, col, select

from dicom_node.models import Pull, Study


def is_for_comparison(session: Session, study_id: int) -> bool:
    """Whether the study came as the prior of another and nobody asked for itself: then it is not drafted."""
    of_study = select(Pull).join(Study, col(Study.study_instance_uid) == col(Pull.study_instance_uid))
    pulls = session.exec(of_study.where(Study.id == study_id)).all()
    return any(pull.for_comparison for pull in pulls) and all(pull.prior_of is not None for pull in pulls)
