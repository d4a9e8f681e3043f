"""Access: who may use the page, and patients' names to look for"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("study", sa.Column("patient_name", sa.String(), nullable=True))
    op.add_column("study", sa.Column("patient_name_folded", sa.String(), nullable=False, server_default=""))
    op.create_index("ix_study_patient_name", "study", ["patient_name"])
    op.create_table(
        "page_user",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(length=64), nullable=False, unique=True),
        sa.Column("access", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "page_login",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("token_sha256", sa.String(length=64), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("page_user.id"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_page_login_user_id", "page_login", ["user_id"])


def downgrade() -> None:
    op.drop_table("page_login")
    op.drop_table("page_user")
    op.drop_index("ix_study_patient_name", "study")
    with op.batch_alter_table("study") as study:
        study.drop_column("patient_name_folded")
        study.drop_column("patient_name")
