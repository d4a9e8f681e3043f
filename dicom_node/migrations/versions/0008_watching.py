"""Watching: when each role was well, and the open studies without looking at all of them"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "heartbeat",
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("host", sa.String(), primary_key=True),
        sa.Column("well_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fault", sa.String(), nullable=False),
    )
    op.create_index("study_open", "study", ["state", "last_received_at"])


def downgrade() -> None:
    op.drop_index("study_open", "study")
    op.drop_table("heartbeat")
