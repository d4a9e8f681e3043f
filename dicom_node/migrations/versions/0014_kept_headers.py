"""Kept headers: of drafted images that were removed, so that their drafts can still be withdrawn"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("instance", sa.Column("header", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("instance") as instance:
        instance.drop_column("header")
