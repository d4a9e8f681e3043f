"""A node that can be asked for storage commitment, and what the tests of it share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from doubles import FrozenClock
from films import make_dx
from modality import Modality, Pair
from pynetdicom.association import Association
from rows import all_of, only
from sqlalchemy import Engine
from test_scp import DX

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Commitment, Instance
from dicom_node.peers import Peer, PeerAddress
from dicom_node.receive.commitment_report import Reporter, report_due
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import bound_port
from dicom_node.receive.normalized import SUCCESS
from dicom_node.receive.scp import start_server
from dicom_node.storage import InstanceStore

PLACE = "1.2.840.10008.5.1.4.1.1.1"  # Computed Radiography: not what the films are
NEVER_CAME: Pair = (DX, "1.2.9999")


@dataclass
class Node:
    """A port that receives, and what tells. Nothing is told before a test says so."""

    settings: Settings
    receiver: Receiver
    clock: FrozenClock
    port: int
    reporter: Reporter

    def tell(self) -> bool:
        return report_due(self.reporter)

    def holds(self, modality: Modality, *numbers: int) -> list[Pair]:
        """Films that the modality has stored here."""
        with modality.associated(self.port, DX) as assoc:
            return [store_film(assoc, number) for number in numbers]

    def file(self, pair: Pair) -> Path:
        rows = [each for each in all_of(self.receiver.sessions, Instance) if each.sop_instance_uid == pair[1]]
        return self.receiver.store.open(rows[0].path)

    def row(self) -> Commitment:
        found = only(self.receiver.sessions, Commitment)
        assert isinstance(found, Commitment)
        return found


def store_film(assoc: Association, number: int, **elements: str) -> Pair:
    ds = make_dx(SOPInstanceUID=f"1.2.{number}", **elements)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    assert assoc.send_c_store(ds).Status == SUCCESS
    return DX, ds.SOPInstanceUID


@contextmanager
def running(settings: Settings, engine: Engine) -> Iterator[Node]:
    clock = FrozenClock()
    receiver = Receiver(InstanceStore(settings.instances_dir), Sessions(engine), clock)
    server = start_server(settings, receiver)
    try:
        yield Node(settings, receiver, clock, bound_port(server), Reporter(settings, receiver, server))
    finally:
        server.shutdown()


def knowing(settings: Settings, port: int, **address: object) -> Settings:
    """Settings that say where the modality listens."""
    listens_at = PeerAddress(host="127.0.0.1", port=port, **address)
    return settings.model_copy(update={"peers": {"MODALITY": Peer(listens_at=listens_at)}})


def flip_last_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
