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
    op.add_column("delivery", sa.Column("wants_commitment", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("delivery", sa.Column("transaction_uid", sa.String(length=64), nullable=False, server_default=""))
    op.create_index("ix_delivery_transaction_uid", "delivery", ["transaction_uid"])


def downgrade() -> None:
    op.drop_index("ix_delivery_transaction_uid", "delivery")
    with op.batch_alter_table("delivery") as delivery:
        delivery.drop_column("transaction_uid")
        delivery.drop_column("wants_commitment")
    with op.batch_alter_table("report") as report:
        for name in ("withdrawn_at", "attention", "withdrawal_reason", "labels"):
            report.drop_column(name)
