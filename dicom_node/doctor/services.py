"""Checks of what the node keeps its rows in and rings by: database, broker, clock."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import URL, Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, func, select

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, in_words, opened, require_current_schema, schema_revision
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok, warning
from dicom_node.errors import Permanent
from dicom_node.models import Transition

_SKEW = timedelta(seconds=5)
_ANSWER_S = 3.0


def check_database(settings: Settings) -> Iterator[Diagnosis]:
    """Is it there, of the right schema, and does it agree about the time?"""
    what = "database"
    try:
        with opened(settings) as engine:
            if schema_revision(engine) is None:
                words = f"{engine.dialect.name} answers, and has no tables yet"
                yield warning(what, words, "nothing, if you begin: `dicom-node up` makes them, or `dicom-node migrate`")
                return
            require_current_schema(engine)
            yield ok(what, f"{engine.dialect.name} answers, its schema is current")
            yield from _clock(engine)
    except Permanent as error:
        words, _, fix = str(error).partition(": ")
        yield fault(what, words, fix)
    except (DBAPIError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        url = make_url(settings.sqlalchemy_url)
        yield fault(what, f"{in_words(url)} cannot be used ({type(cause).__name__})", _fix_of(url))


def _fix_of(url: URL) -> str:
    if url.drivername == "sqlite":
        return f"give uid {os.getuid()} the right to write this file and its folder; if it is damaged, restore a backup"
    return "start it, or set database_url right: postgresql+psycopg://user:password@host/name"


def check_broker(settings: Settings) -> Iterator[Diagnosis]:
    """Does Redis answer, and will it keep what it is told?"""
    what = "broker"
    if settings.broker_url is None:
        yield ok(what, "none is set: workers look at the job table")
        return
    url = settings.broker_url.get_secret_value()
    try:
        with Redis.from_url(url, socket_connect_timeout=_ANSWER_S, socket_timeout=_ANSWER_S) as redis:
            redis.ping()
            policy = str(redis.info("memory").get("maxmemory_policy", "noeviction"))
    except (RedisError, ValueError, OSError) as error:
        words = f"does not answer ({type(error).__name__}); workers still find jobs in the table, some seconds later"
        yield fault(what, words, "start Redis, or set broker_url right: redis://host:6379/0")
        return
    if policy != "noeviction":
        words = f"Redis answers, but may forget what it was told (maxmemory-policy {policy})"
        yield warning(what, words, "set `maxmemory-policy noeviction` in redis.conf")
        return
    yield ok(what, "Redis answers")


def _clock(engine: Engine) -> Iterator[Diagnosis]:
    """Leases and waiting times are moments of this clock: one that was set back makes them long."""
    what, fix = "clock", "let NTP set the clocks of all machines (`timedatectl set-ntp true`)"
    now, theirs = utc_now(), _database_now(engine)
    if abs(theirs - now) > _SKEW:
        yield fault(what, f"{(theirs - now).total_seconds():+.0f} s between this machine and the database's", fix)
        return
    with Sessions(engine)() as session:
        newest = session.exec(select(func.max(col(Transition.at)))).one()
    if newest is not None and newest - now > _SKEW:
        words = f"the newest row is of {(newest - now).total_seconds():.0f} s from now: the clock was set back"
        yield fault(what, words, fix)
        return
    yield ok(what, f"{now:%Y-%m-%d %H:%M:%S} UTC, as the database says")


def _database_now(engine: Engine) -> datetime:
    if engine.dialect.name == "sqlite":
        return utc_now()
    with engine.connect() as connection:
        told: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return told.astimezone(UTC)
