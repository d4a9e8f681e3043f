"""What a draft is flagged for, and whether its model is for tests alone"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_DEMONSTRATION = "LLaVA-Rad demonstration (random weights)"  # the one synthetic model that version 1 had


def upgrade() -> None:
    op.add_column("report", sa.Column("flags", sa.String(), nullable=False, server_default="[]"))
    op.add_column("report", sa.Column("model_is_synthetic", sa.Boolean(), nullable=False, server_default=sa.false()))
    report = sa.table("report", sa.column("model_name", sa.String), sa.column("model_is_synthetic", sa.Boolean))
    op.execute(report.update().where(report.c.model_name == _DEMONSTRATION).values(model_is_synthetic=True))


def downgrade() -> None:
    op.drop_column("report", "model_is_synthetic")
    op.drop_column("report", "flags")
