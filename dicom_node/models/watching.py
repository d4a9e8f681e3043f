"""How the node is: what its roles say, what people were told of it, and what collectors have of it."""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from dicom_node.models.times import UtcDateTime


class Heartbeat(SQLModel, table=True):
    """How a role of a host last was; deleted when it ends in good order."""

    __tablename__: ClassVar[str] = "heartbeat"

    role: str = Field(primary_key=True)
    host: str = Field(primary_key=True)  # two processes of a role on one host count as one
    well_at: datetime = Field(sa_type=UtcDateTime)  # stands still while there is a fault
    fault: str = ""  # in words


class Notice(SQLModel, table=True):
    """What one channel was last told of one condition: no restart tells it again."""

    __tablename__: ClassVar[str] = "notice"

    channel: str = Field(primary_key=True)  # its name in the settings
    condition: str = Field(primary_key=True)  # as `conditions.Finding.condition`
    is_raised: bool = False  # it was told that it is so, and not yet that it is over
    newest: int = 0  # the newest of what it was told of: more is told again
    due_at: datetime = Field(sa_type=UtcDateTime)  # nothing more is told before; also the lease of who tells it now


class Shipped(SQLModel, table=True):
    """What a collector has of a stream, up to here."""

    __tablename__: ClassVar[str] = "shipped"

    stream: str = Field(primary_key=True)  # audit or traces
    file: str = ""  # audit: the name of the file that was read last
    inode: int = Field(default=0, sa_type=BigInteger)  # audit: tells that file from another of its name
    position: int = Field(default=0, sa_type=BigInteger)  # audit: bytes of that file; traces: id of a Transition
