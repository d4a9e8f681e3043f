"""Attended: failures that a person has seen, what a peer once took; and the timeline by time, for charts"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_FILL_DELIVERED_AT = """
UPDATE delivery SET delivered_at = COALESCE(
  (SELECT MAX(at) FROM transition WHERE row_kind = 'delivery' AND row_id = delivery.id AND new = 'delivered'),
  created_at)
WHERE state IN ('delivered', 'committed')
"""


def upgrade() -> None:
    for table in ("job", "delivery"):
        op.add_column(table, sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("delivery", sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(_FILL_DELIVERED_AT)
    op.add_column("job", sa.Column("seen_by", sa.String(), nullable=False, server_default=""))
    op.create_index("ix_transition_at", "transition", ["at"])


def downgrade() -> None:
    op.drop_index("ix_transition_at", "transition")
    with op.batch_alter_table("delivery") as delivery:
        delivery.drop_column("delivered_at")
        delivery.drop_column("seen_at")
    with op.batch_alter_table("job") as job:
        job.drop_column("seen_by")
        job.drop_column("seen_at")
