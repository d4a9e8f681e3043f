"""The one image of a stored study that is read, by its rows; selection decides, and what was drafted before."""

from sqlmodel import Session, col, select

from dicom_node.config import Settings
from dicom_node.models import Instance, Job, Report, Series
from dicom_node.pull.comparison import is_for_comparison
from workers.selection import Candidate, Chosen, Skipped, SkipReason, choose_frontal


def choose(session: Session, job: Job, settings: Settings) -> Chosen | Skipped:
    """For a job: an image that was drafted already is not drafted again."""
    choice = choose_image(session, job.study_id, settings)
    if isinstance(choice, Chosen):
        earlier = _earlier_revision(session, job, choice.instance)
        if earlier is not None:
            return Skipped(SkipReason.UNCHANGED, f"revision {earlier}")
        if choice.instance.removed_at is not None:
            return Skipped(SkipReason.REMOVED)
    return choice


def choose_image(session: Session, study_id: int, settings: Settings) -> Chosen | Skipped:
    """Of a study, whatever was drafted of it."""
    if is_for_comparison(session, study_id):
        return Skipped(SkipReason.PRIOR)
    rows = session.exec(select(Instance, Series).join(Series).where(Series.study_id == study_id)).all()
    return choose_frontal([candidate(instance, series.modality, settings) for instance, series in rows])


def candidate(instance: Instance, modality: str, settings: Settings) -> Candidate:
    """An instance with what the site vouches for its sender."""
    peer = settings.peer(instance.calling_ae)
    return Candidate(instance, modality, assume_chest=peer.assume_chest, assume_frontal=peer.assume_frontal)


def _earlier_revision(session: Session, job: Job, instance: Instance) -> int | None:
    """The revision of this study that was drafted from the same image already."""
    drafted = select(Job.revision).join(Report).where(Job.study_id == job.study_id, Report.instance_id == instance.id)
    return session.exec(drafted.order_by(col(Job.revision))).first()
