"""What the services beside C-STORE remember"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae", sa.String(), nullable=False),
        sa.Column("requestor", sa.String(), nullable=False),
        sa.Column("requested", sa.String(), nullable=False),
        sa.Column("failures", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("calling_ae", "transaction_uid"),
    )
    op.create_index("commitment_due", "commitment", ["state", "due_at"])

    op.add_column("study", sa.Column("released_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("study", sa.Column("broken_off_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "performed_step",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("instances", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sop_instance_uid", "study_instance_uid"),
    )
    op.create_index("ix_performed_step_study_instance_uid", "performed_step", ["study_instance_uid"])
    op.create_table(
        "declaration",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_declaration_study_instance_uid", "declaration", ["study_instance_uid"])

    op.create_table(
        "pull",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("prior_of", sa.Integer(), nullable=True),
        sa.Column("for_comparison", sa.Boolean(), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["prior_of"], ["study.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source", "prior_of"),
    )
    op.create_index("pull_due", "pull", ["state", "due_at"])
    op.create_index("ix_pull_study_instance_uid", "pull", ["study_instance_uid"])
    named = sa.text("prior_of IS NULL")
    op.create_index(
        "one_pull_of_a_named_study",
        "pull",
        ["source", "study_instance_uid"],
        unique=True,
        sqlite_where=named,
        postgresql_where=named,
    )


def downgrade() -> None:
    op.drop_index("one_pull_of_a_named_study", "pull")
    op.drop_index("ix_pull_study_instance_uid", "pull")
    op.drop_index("pull_due", "pull")
    op.drop_table("pull")
    op.drop_index("ix_declaration_study_instance_uid", "declaration")
    op.drop_table("declaration")
    op.drop_index("ix_performed_step_study_instance_uid", "performed_step")
    op.drop_table("performed_step")
    op.drop_column("study", "broken_off_at")
    op.drop_column("study", "released_at")
    op.drop_index("commitment_due", "commitment")
    op.drop_table("commitment")
