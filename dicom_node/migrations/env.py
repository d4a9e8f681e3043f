"""Alembic's entry: the connection comes from `database.migrate`, online only."""

from alembic import context
from sqlmodel import SQLModel

from dicom_node import models  # noqa: F401  (fills the metadata)

context.configure(
    connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
