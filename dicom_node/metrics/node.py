"""Metrics of the node itself: program, disk, certificates, rules, roles."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from prometheus_client import Metric
from prometheus_client.core import InfoMetricFamily
from sqlmodel import Session

from dicom_node.certificates import crls_left, expires_at
from dicom_node.config import Settings
from dicom_node.database import SCHEMA_REVISION
from dicom_node.errors import BadRules
from dicom_node.health import Condition, conditions, expected
from dicom_node.metrics.families import gauge
from dicom_node.product import software_version
from dicom_node.roles import roles_of
from dicom_node.rules.rule_file import read_rules

_DAY = timedelta(days=1)


def build() -> Iterator[Metric]:
    words = {"version": software_version(), "schema": SCHEMA_REVISION}
    yield InfoMetricFamily("dicom_node_build", "The program.", words)


def disk(settings: Settings) -> Iterator[Metric]:
    """Of a folder that is away nothing is said of its free space: no number would be true."""
    kept_back = settings.min_free_bytes
    yield gauge("disk_kept_back_bytes", "With less free space nothing is received.", (), [((), kept_back)])
    with suppress(OSError):
        free = shutil.disk_usage(settings.instances_dir).free
        yield gauge("disk_free_bytes", "Free space where images are kept.", (), [((), free)])


def certificates(settings: Settings, now: datetime) -> Iterator[Metric]:
    """Of those that this role can read."""
    days, crl_days = [], []
    for used_by, tls in settings.all_tls.items():
        with suppress(OSError):
            days.append(((used_by,), (expires_at(tls.certificate) - now) / _DAY))
        with suppress(OSError):
            left = crls_left(tls.ca, now) if tls.ca else None
            crl_days += [((used_by,), left / _DAY)] if left is not None else []
    yield gauge("certificate_days_left", "Until a certificate of this node ends.", ("used_by",), days)
    yield gauge("crl_days_left", "Until a CRL is out of date, and nobody is let in.", ("used_by",), crl_days)


def rules(settings: Settings) -> Iterator[Metric]:
    """Nothing is said where there are none."""
    if settings.rules_file is None:
        return
    try:
        read_rules(settings.rules_file, settings.destination_names)
        is_bad = False
    except BadRules:
        is_bad = True
    yield gauge("rules_bad", "1: the rules' file cannot be used, the last good ones stay in force.", (), [((), is_bad)])


def roles(session: Session, settings: Settings, now: datetime) -> Iterator[Metric]:
    """A role that should run and has written nothing has no process that is well."""
    wanted = roles_of(settings)
    found = expected(conditions(session, now), wanted)
    names = sorted({*wanted, *(each.role for each in found)})
    processes = [
        ((name, words), float(sum(each.is_well is is_well for each in _of(name, found))))
        for name in names
        for words, is_well in (("well", True), ("unwell", False))
    ]
    ages = [((name,), max(each.age_s for each in _of(name, found))) for name in names if _of(name, found)]
    yield gauge("role_processes", "Processes of a role.", ("role", "condition"), processes)
    yield gauge(
        "role_heartbeat_age_seconds", "Since the last of them was well; of several the oldest.", ("role",), ages
    )


def _of(role: str, found: list[Condition]) -> list[Condition]:
    return [each for each in found if each.role == role]
