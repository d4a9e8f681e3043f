"""Moves of a row: found by its number first, of which there are many, and not by its kind, of which there are five

With the kind first SQLite, which knows nothing of how many rows a word has, read the moves of all rows of a kind.
"""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.drop_index("transition_row", "transition")
    op.create_index("transition_row", "transition", ["row_id", "row_kind"])


def downgrade() -> None:
    op.drop_index("transition_row", "transition")
    op.create_index("transition_row", "transition", ["row_kind", "row_id"])
