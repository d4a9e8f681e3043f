"""Rules: which rule took a job's image, and where its draft goes"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("job", sa.Column("decision", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("job", "decision")
