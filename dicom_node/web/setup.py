"""What a new node still lacks: a list with its live state, and the lines of dicom-node.toml for what is missing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from dicom_node.config import Settings
from dicom_node.health import conditions
from dicom_node.models import Study
from dicom_node.web.destinations import PeerName, peers_of
from dicom_node.web.peer_tests import Tested

_PACS_LINES = """\
[[pacs]]
name = "pacs"              # as this node calls it
ae_title = "PACS"          # as it calls itself
host = "pacs.example.org"
port = 104
"""
_RIS_LINES = """\
[[ris]]
name = "ris"               # as this node calls it
host = "ris.example.org"
port = 2575
"""
_SENDER_LINES = """\
[peers.CR_ROOM_1]          # the calling AE title of a modality, or of the PACS
addresses = ["10.1.2.3/32"]
"""
_OWN_LINES = """\
[peers.{ae_title}]         # this node itself, for test studies
"""
_MODEL_LINES = """\
model_dir = "/models/llava-rad"       # made by `dicom-node model import`
accept_research_only_terms = true     # if you accept them
"""

LastTest = Callable[[PeerName], Tested | None]


@dataclass(frozen=True)
class Step:
    """One thing that a node needs."""

    title: str
    is_done: bool
    words: str
    lines: str = ""  # of dicom-node.toml, to write before the node starts again
    peer: PeerName | None = None  # that can be tested


def steps_of(session: Session, settings: Settings, now: datetime, last: LastTest) -> list[Step]:
    """In the order in which they are best done."""
    return [
        *_peer_steps(settings, "pacs", "PACS that takes the drafts", _PACS_LINES, last),
        *_peer_steps(settings, "ris", "RIS that takes the drafts", _RIS_LINES, last),
        *_sender_steps(settings),
        _model_step(session, settings, now),
        _film_step(session),
    ]


def _peer_steps(settings: Settings, kind: str, title: str, lines: str, last: LastTest) -> Iterator[Step]:
    peers = {peer: where for peer, where in peers_of(settings).items() if peer.kind == kind}
    if not peers:
        yield Step(f"A {title}", False, "None is set.", lines)
    for peer, where in peers.items():
        tested = last(peer)
        words = f"{where}. It was not tested since this role started." if tested is None else f"{where}."
        yield Step(f"{peer.title} answers", tested is not None and tested.is_well, words, peer=peer)


def _sender_steps(settings: Settings) -> Iterator[Step]:
    title = "Somebody may send"
    if not settings.peers:
        yield Step(title, False, "No senders are set: only this machine may send.", _SENDER_LINES)
        return
    yield Step(title, True, f"By these AE titles: {', '.join(settings.peers)}.")
    if settings.ae_title not in settings.peers:
        words = f"Test studies come from {settings.ae_title}, which is not one of the senders."
        yield Step("This node may send to itself", False, words, _OWN_LINES.format(ae_title=settings.ae_title))


def _model_step(session: Session, settings: Settings, now: datetime) -> Step:
    title, workers = "The model is loaded", [each for each in conditions(session, now) if each.role == "worker"]
    well = any(each.is_well for each in workers)
    if not well:
        faults = [each.fault for each in workers if each.fault]
        words = f"The worker says: {faults[0]}." if faults else "The role worker does not run, or is silent."
        return Step(title, False, words)
    if settings.model_dir is None:
        return Step(title, True, "It is the test model that ships: its drafts are no drafts of patients.", _MODEL_LINES)
    return Step(title, True, "The worker is ready to draft.")


def _film_step(session: Session) -> Step:
    has_film = session.exec(select(Study.id).limit(1)).first() is not None
    words = "A study has come." if has_film else "Nothing has come yet: let a modality send, or send a test study."
    return Step("A film was received", has_film, words)
