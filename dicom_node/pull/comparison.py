"""Which studies are here only to be compared with."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from dicom_node.models import Pull, Study
from dicom_node.states import PullState


def is_for_comparison(session: Session, study_id: int) -> bool:
    """Whether the study came as the prior of another and nobody asked for itself: then it is not drafted."""
    pulls = _pulls(session, study_id)
    return any(pull.for_comparison for pull in pulls) and all(pull.prior_of is not None for pull in pulls)


def take_for_reading(session: Session, study_id: int) -> bool:
    """Whether it was here only to be compared with. It is as any other now, because somebody sends it for itself.

    Not while it is pulled, or to be pulled again, for comparison: then it is that which comes.
    """
    marked = [pull for pull in _pulls(session, study_id) if pull.for_comparison]
    if not marked or any(pull.state in (PullState.PENDING, PullState.PULLING) for pull in marked):
        return False
    for pull in marked:
        pull.for_comparison = False
        session.add(pull)
    return True


def _pulls(session: Session, study_id: int) -> Sequence[Pull]:
    of_study = select(Pull).join(Study, col(Study.study_instance_uid) == col(Pull.study_instance_uid))
    return session.exec(of_study.where(Study.id == study_id)).all()
