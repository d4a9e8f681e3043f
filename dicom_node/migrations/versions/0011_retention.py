"""Retention: images that were removed when their time was up; and what people were told of the node's condition"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_TO_REMOVE = sa.text("removed_at IS NOT NULL AND path <> ''")
_WITH_IMAGES = sa.text("images_removed_at IS NULL")


def upgrade() -> None:
    op.add_column("study", sa.Column("images_removed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("instance", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "study_with_images",
        "study",
        ["state", "last_received_at"],
        sqlite_where=_WITH_IMAGES,
        postgresql_where=_WITH_IMAGES,
    )
    op.create_index("instance_to_remove", "instance", ["id"], sqlite_where=_TO_REMOVE, postgresql_where=_TO_REMOVE)
    op.create_table(
        "notice",
        sa.Column("channel", sa.String(), primary_key=True),
        sa.Column("condition", sa.String(), primary_key=True),
        sa.Column("is_raised", sa.Boolean(), nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("notice")
    op.drop_index("instance_to_remove", "instance")
    op.drop_index("study_with_images", "study")
    with op.batch_alter_table("instance") as instance:
        instance.drop_column("removed_at")
    with op.batch_alter_table("study") as study:
        study.drop_column("images_removed_at")
