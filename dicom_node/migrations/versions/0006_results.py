"""More of results: coded findings, where the model looked, withdrawal, and storage commitment of what was delivered"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name in ("labels", "withdrawal_reason"):
        op.add_column("report", sa.Column(name, sa.String(), nullable=False, server_default=""))
    op.add_column("report", sa.Column("attention", sa.LargeBinary(), nullable=True))
    op.add_column("report", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    for name in ("wants_commitment", "has_gone_out"):
        op.add_column("delivery", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("delivery", sa.Column("transaction_uid", sa.String(length=64), nullable=False, server_default=""))
    op.create_index("ix_delivery_transaction_uid", "delivery", ["transaction_uid"])
    op.add_column("imaging_order", sa.Column("procedure_scheme", sa.String(), nullable=False, server_default=""))
    op.create_index("delivery_to_commit", "delivery", ["wants_commitment", "state", "due_at"])
    op.drop_index("one_active_job_per_study", "job")
    _one_job_per_study("one_drafting_job_per_study", "state IN ('queued', 'inferring')")


def downgrade() -> None:
    with op.batch_alter_table("imaging_order") as order:
        order.drop_column("procedure_scheme")
    op.drop_index("one_drafting_job_per_study", "job")
    _one_job_per_study("one_active_job_per_study", "state IN ('queued', 'inferring', 'reported')")
    op.drop_index("delivery_to_commit", "delivery")
    op.drop_index("ix_delivery_transaction_uid", "delivery")
    with op.batch_alter_table("delivery") as delivery:
        for name in ("transaction_uid", "has_gone_out", "wants_commitment"):
            delivery.drop_column(name)
    with op.batch_alter_table("report") as report:
        for name in ("withdrawn_at", "attention", "withdrawal_reason", "labels"):
            report.drop_column(name)


def _one_job_per_study(name: str, where: str) -> None:
    clause = sa.text(where)
    op.create_index(name, "job", ["study_id"], unique=True, sqlite_where=clause, postgresql_where=clause)
