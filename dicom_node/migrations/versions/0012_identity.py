"""Identity: people who come in by an identity provider, and how far what leaves for collectors has gone"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("page_user", sa.Column("subject", sa.String(length=512), nullable=True))
    op.create_index("ix_page_user_subject", "page_user", ["subject"], unique=True)
    op.create_table(
        "shipped",
        sa.Column("stream", sa.String(), primary_key=True),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("shipped")
    op.drop_index("ix_page_user_subject", "page_user")
    with op.batch_alter_table("page_user") as user:
        user.drop_column("subject")
