"""Other bytes under one UID are numbered; the hash of an object is made after it was received"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_UNNAMED = {"uq": "unnamed_%(table_name)s_%(column_0_name)s"}  # what SQLite reflects without a name
_NUMBERED = """
    UPDATE instance SET variant =
    (SELECT count(*) FROM instance AS earlier
     WHERE earlier.sop_instance_uid = instance.sop_instance_uid AND earlier.id < instance.id)
"""


def upgrade() -> None:
    op.add_column("instance", sa.Column("variant", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("instance", sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(_NUMBERED)
    _change_unique(old="sha256", new="variant")
    without = sa.text("sha256 = ''")
    op.create_index("instance_without_digest", "instance", ["id"], sqlite_where=without, postgresql_where=without)


def downgrade() -> None:
    op.drop_index("instance_without_digest", "instance")
    _change_unique(old="variant", new="sha256")
    with op.batch_alter_table("instance") as batch:
        batch.drop_column("size_bytes")
        batch.drop_column("variant")


def _change_unique(*, old: str, new: str) -> None:
    uniques = sa.inspect(op.get_bind()).get_unique_constraints("instance")
    name = next(each["name"] for each in uniques if each["column_names"] == ["sop_instance_uid", old])
    with op.batch_alter_table("instance", naming_convention=_UNNAMED) as batch:
        batch.drop_constraint(name or "unnamed_instance_sop_instance_uid", type_="unique")
        batch.create_unique_constraint(f"instance_sop_instance_uid_{new}_key", ["sop_instance_uid", new])
