"""What people were told of the node's condition."""

from datetime import datetime
from typing import ClassVar

from sqlmodel import Field, SQLModel

from dicom_node.models.times import UtcDateTime


class Notice(SQLModel, table=True):
    """What one channel was last told of one condition: no restart tells it again."""

    __tablename__: ClassVar[str] = "notice"

    channel: str = Field(primary_key=True)  # its name in the settings
    condition: str = Field(primary_key=True)  # as `conditions.Finding.condition`
    is_raised: bool = False  # it was told that it is so, and not yet that it is over
    newest: int = 0  # the newest of what it was told of: more is told again
    due_at: datetime = Field(sa_type=UtcDateTime)  # nothing more is told before; also the lease of who tells it now
