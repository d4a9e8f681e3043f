"""`dicom-node export`: what was received and what was sent of a study, as files with a manifest.

No name of a file says who the patient is; what is in them does.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from sqlmodel import Session, col, select

from dicom_node.audit import audited, who_runs_this
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.deliveries import reports_of
from dicom_node.errors import InvalidHeader, Permanent
from dicom_node.flags import flags_from_json
from dicom_node.image_folder import open_store
from dicom_node.models import Delivery, Instance, Job, Report, Series, Study
from dicom_node.part_file import fsync_folder
from dicom_node.product import opening
from dicom_node.states import MESSAGES
from dicom_node.storage import InstanceStore, digest_of
from dicom_node.timeline import find_study, timeline

MANIFEST = "manifest.json"
_Text = tuple[str, str, bytes]  # name below the folder, what it is, content


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export."""

    name: str  # below the folder
    what: str
    size_bytes: int
    sha256: str


@dataclass
class Manifest:
    """What an export holds, and what it could not."""

    study: int
    exported_at: str  # ISO 8601, UTC
    files: list[ExportedFile] = field(default_factory=list)
    removed: int = 0  # objects that were removed when their time was up
    missing: int = 0  # objects whose file should be there, and is not
    damaged: int = 0  # objects that are here, but not as they came: the disk has changed or cut them

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class _Content:
    """What is read before anything is written: no transaction is open while files are copied."""

    study: Study
    instances: Sequence[Instance]
    texts: Sequence[_Text]


@dataclass(frozen=True)
class _Source:
    """Where the objects are."""

    sessions: Sessions
    store: InstanceStore


def export_study(settings: Settings, sessions: Sessions, study_id: int, folder: Path, clock: Clock) -> Manifest:
    """Fill a new folder. It has its name when all of it is written; the audit trail has it before.

    Raises Permanent where there is no such study, the folder is there already, or it cannot be written; StorageAway.
    """
    if folder.exists():
        raise Permanent(f"{folder} is there already, and nothing is overwritten")
    with sessions() as session:
        content = _read(session, study_id, settings.disclaimer)
    with audited(settings, clock) as trail:
        trail.exported(who_runs_this(), content.study.study_instance_uid, content.study.patient_id)
    with _all_or_nothing(folder) as part:
        manifest = Manifest(study_id, clock().isoformat())
        source = _Source(sessions, open_store(settings, sessions))
        (part / "received").mkdir()
        for instance in content.instances:
            _write_received(source, instance, part, manifest)
        _write_texts(content.texts, part, manifest)
    return manifest


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets this name when that went well, and else is gone again. Raises Permanent."""
    part = folder.with_name(f"{folder.name}.part")
    if part.exists():
        raise Permanent(f"{part} is left of an export that was cut short: remove it")
    try:
        part.mkdir(mode=0o700, parents=True)
        try:
            yield part
            for each in (*filter(Path.is_dir, part.iterdir()), part):
                fsync_folder(each)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)  # once it has its name, there is none
    except OSError as error:
        raise Permanent(f"nothing was exported to {folder}: {error.strerror or type(error).__name__}") from error
    fsync_folder(folder.parent)  # not above: it has its name now


def _read(session: Session, study_id: int, disclaimer: str) -> _Content:
    study = find_study(session, study_id)
    instances = select(Instance).join(Series).where(Series.study_id == study_id).order_by(col(Instance.id))
    texts = (*_sent(session, study), *_drafted(session, study, disclaimer), _told(session, study))
    return _Content(study, session.exec(instances).all(), texts)


def _write_received(source: _Source, instance: Instance, folder: Path, manifest: Manifest) -> None:
    name = f"received/{instance.id}.dcm"
    try:
        shutil.copyfile(source.store.open(instance.path), folder / name)
    except (InvalidHeader, FileNotFoundError):
        _account_for(source, instance, folder, manifest)
        return
    is_damaged = _is_damaged(folder / name, instance)
    manifest.damaged += is_damaged
    state = "DAMAGED: not as it was sent by" if is_damaged else "as it was sent by"
    manifest.files.append(_described(folder, name, f"object {instance.id}, {state} {instance.calling_ae}"))


def _is_damaged(file: Path, instance: Instance) -> bool:
    """Whether the file is not what its row says; one without a digest yet can only be too short."""
    try:
        digest = digest_of(file, instance.size_bytes)
    except OSError:
        return True
    return instance.sha256 not in ("", digest)


def _account_for(source: _Source, instance: Instance, folder: Path, manifest: Manifest) -> None:
    """Of an object whose file is gone. It may have been removed, and have come again, since the rows were read."""
    with source.sessions() as session:
        now = session.get_one(Instance, instance.id)
    if now.removed_at is None and now.path != instance.path:
        _write_received(source, now, folder, manifest)
        return
    manifest.removed += now.removed_at is not None
    manifest.missing += now.removed_at is None


def _write_texts(texts: Sequence[_Text], folder: Path, manifest: Manifest) -> None:
    """And the manifest, last."""
    for name, what, said in texts:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(said)
        manifest.files.append(_described(folder, name, what))
    (folder / MANIFEST).write_text(json.dumps(manifest.as_json(), indent=2), encoding="utf-8")
    _read_durably(folder / MANIFEST)


def _sent(session: Session, study: Study) -> Iterator[_Text]:
    """What was encoded for destinations, whether they took it or not."""
    of_study = select(Delivery).join(Report).join(Job).where(Job.study_id == study.id)
    encoded = of_study.where(col(Delivery.payload).is_not(None)).order_by(col(Delivery.id))
    for each in session.exec(encoded):
        ending = "hl7" if each.kind in MESSAGES else "dcm"
        words = f"{each.kind} for {each.destination}: {each.state} {each.ack_code}".rstrip()
        yield f"sent/{each.id}-{each.destination}-{each.kind}.{ending}", words, each.payload or b""


def _drafted(session: Session, study: Study, disclaimer: str) -> Iterator[_Text]:
    for report in reports_of(session, study):
        words = f"draft of {report.model_name} {report.model_version}"
        yield f"drafts/{report.id}.txt", words, _as_shown(report, disclaimer).encode()


def _as_shown(report: Report, disclaimer: str) -> str:
    """The words of a draft, below what has to stand above them."""
    lines = [opening(disclaimer, is_synthetic=report.model_is_synthetic)]
    lines += [f"WITHDRAWN: {report.withdrawal_reason}"] if report.withdrawn_at else []
    lines += [f"Check: {flag.sentence}" for flag in flags_from_json(report.flags)]
    return "\n".join([*lines, "", report.findings, ""])


def _told(session: Session, study: Study) -> _Text:
    lines = [f"{moment.at.isoformat()}  {moment.what}\n" for moment in timeline(session, study)]
    return "timeline.txt", "what happened to the study", "".join(lines).encode()


def _described(folder: Path, name: str, what: str) -> ExportedFile:
    content = _read_durably(folder / name)
    return ExportedFile(name, what, len(content), sha256(content).hexdigest())


def _read_durably(file: Path) -> bytes:
    """What was written, when it is on the disk: of one that is full some file systems say so only now."""
    with file.open("rb") as content:
        os.fsync(content.fileno())
        return content.read()
