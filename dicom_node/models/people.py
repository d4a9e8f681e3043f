"""Who may use the page."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sqlmodel import Field, SQLModel

from dicom_node.models.times import UtcDateTime


class Access(StrEnum):
    """What a person may do on the page. Each may do what those before it may."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # retry, withdraw
    ADMIN = "admin"  # say who may come in


class User(SQLModel, table=True):
    """A person who may use the page."""

    __tablename__: ClassVar[str] = "page_user"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True, max_length=64)  # as `users.checked_name` writes it
    access: str  # Access
    password_hash: str  # Argon2id, in the PHC string format; empty: comes in by the identity provider alone
    # Issuer and subject identifier, which never change and are never given to anybody else (OpenID Connect Core 8).
    subject: str | None = Field(default=None, max_length=512, unique=True, index=True)
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Login(SQLModel, table=True):
    """A browser that a person has logged in with."""

    __tablename__: ClassVar[str] = "page_login"

    id: int | None = Field(default=None, primary_key=True)
    token_sha256: str = Field(unique=True, max_length=64)  # of the cookie: who reads the table cannot use it
    user_id: int = Field(foreign_key="page_user.id", index=True)
    seen_at: datetime = Field(sa_type=UtcDateTime)  # when the person last did something
    created_at: datetime = Field(sa_type=UtcDateTime)
