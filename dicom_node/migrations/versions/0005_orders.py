"""What the RIS tells: messages, orders, final reports, merged patients; and by what they find a study"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_FOUND_BY = {
    "study": ("accession_number", "patient_id"),
    "imaging_order": ("accession_number", "study_instance_uid", "placer_order_number", "filler_order_number"),
    "final_report": ("accession_number", "study_instance_uid"),
    "patient_merge": ("prior_id", "surviving_id"),
}


def upgrade() -> None:
    for name in ("accession_number", "patient_id", "issuer_of_patient_id"):
        op.add_column("study", sa.Column(name, sa.String(), nullable=False, server_default=""))
    op.create_table(
        "inbound_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sending_application", sa.String(), nullable=False),
        sa.Column("sending_facility", sa.String(), nullable=False),
        sa.Column("control_id", sa.String(), nullable=False),
        sa.Column("message_type", sa.String(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("is_used", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sending_application", "sending_facility", "control_id", "sha256"),
    )
    _create_order()
    _create_final_report()
    op.create_table(
        "patient_merge",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("prior_id", sa.String(), nullable=False),
        sa.Column("surviving_id", sa.String(), nullable=False),
        sa.Column("identifiers", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["inbound_message.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for table, columns in _FOUND_BY.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])


def _create_order() -> None:
    op.create_table(
        "imaging_order",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("accession_number", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("placer_order_number", sa.String(), nullable=False),
        sa.Column("filler_order_number", sa.String(), nullable=False),
        sa.Column("requested_procedure_id", sa.String(), nullable=False),
        sa.Column("scheduled_step_id", sa.String(), nullable=False),
        sa.Column("procedure_code", sa.String(), nullable=False),
        sa.Column("procedure_text", sa.String(), nullable=False),
        sa.Column("reason_for_study", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("patient_identifiers", sa.String(), nullable=False),
        sa.Column("is_cancelled", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["inbound_message.id"]),
        sa.PrimaryKeyConstraint("id"),
    )


def _create_final_report() -> None:
    op.create_table(
        "final_report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("accession_number", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("placer_order_number", sa.String(), nullable=False),
        sa.Column("filler_order_number", sa.String(), nullable=False),
        sa.Column("patient_identifiers", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("findings", sa.String(), nullable=False),
        sa.Column("impression", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["inbound_message.id"]),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    for column in _FOUND_BY["study"]:
        op.drop_index(f"ix_study_{column}", "study")
    for table in ("patient_merge", "final_report", "imaging_order", "inbound_message"):
        op.drop_table(table)
    for name in ("issuer_of_patient_id", "patient_id", "accession_number"):
        op.drop_column("study", name)
