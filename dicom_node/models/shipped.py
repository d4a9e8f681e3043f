"""How far what leaves this node for collectors has gone."""

from typing import ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class Shipped(SQLModel, table=True):
    """What a collector has of a stream, up to here."""

    __tablename__: ClassVar[str] = "shipped"

    stream: str = Field(primary_key=True)  # audit or traces
    file: str = ""  # audit: the name of the file that was read last
    inode: int = Field(default=0, sa_type=BigInteger)  # audit: tells that file from another of its name
    position: int = Field(default=0, sa_type=BigInteger)  # audit: bytes of that file; traces: id of a Transition
