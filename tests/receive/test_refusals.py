"""Refusals are told one by one, until there are too many."""

import re
from pathlib import Path

import pytest
from doubles import FrozenClock

from dicom_node.audit import AuditTrail
from dicom_node.receive.refusals import Refusal, Refusals


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    return AuditTrail(tmp_path, "CXRNODE", FrozenClock())


def refusal(address: str = "10.1.2.3", why: str = "timed out") -> Refusal:
    return Refusal("handshake_refused", address, why)


def told(trail: AuditTrail, folder: Path) -> list[str]:
    trail.stopped()
    return (folder / "audit-2026-03-01.log").read_text().splitlines()[:-1]


def test_a_refusal_is_in_the_log_and_in_the_audit_trail(
    trail: AuditTrail, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Refusals(trail).tell(Refusal("association_refused", "10.1.2.3", "why not", "MODALITY", "1/1/3"))
    (message,) = told(trail, tmp_path)
    assert "association refused 1/1/3: why not" in message
    logged = '"address": "10.1.2.3", "reason": "why not", "calling_ae": "MODALITY", "code": "1/1/3"'
    assert f'{{{logged}, "event": "association_refused", "level": "warning"}}' in caplog.text


def test_a_flood_of_one_address_is_counted_and_others_are_still_told(
    trail: AuditTrail, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(trail)
    for _ in range(1_000):
        refusals.tell(refusal())
    refusals.tell(refusal("10.9.9.9", "no shared cipher"))
    messages = told(trail, tmp_path)
    assert 61 <= len(messages) <= 120  # 60 at once, one a second while it lasts
    assert "no shared cipher" in messages[-1]
    counted = [int(found[1]) for each in messages if (found := re.search(r"; (\d+) more refusals before it are", each))]
    assert sum(counted) == 1_001 - len(messages)
    assert " more refusals before it are not in this log" in messages[-1]
    assert sum(map(int, re.findall(r'"count": (\d+)', caplog.text))) == sum(counted)


def test_a_flood_of_many_addresses_is_counted(trail: AuditTrail, tmp_path: Path) -> None:
    refusals = Refusals(trail)
    for number in range(3_000):
        refusals.tell(refusal(f"10.0.{number // 256}.{number % 256}"))
    assert len(told(trail, tmp_path)) < 1_500
