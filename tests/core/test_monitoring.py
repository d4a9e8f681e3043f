"""Alert rules, dashboard and compose file say what the node says."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from doubles import FrozenClock
from foreign import require_peer
from prometheus_client import CollectorRegistry

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.metrics.collector import NodeCollector
from dicom_node.peers import AuditSyslog, Tls
from dicom_node.roles import ROLES

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def names_told(settings: Settings, sessions: Sessions) -> set[str]:
    """As they stand in PromQL."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(settings, sessions, FrozenClock()))
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}


def expressions() -> list[str]:
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return alerts + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_rules_and_dashboard_ask_for_what_the_node_tells(settings: Settings, sqlite_sessions: Sessions) -> None:
    settings.instances_dir.mkdir()
    tls = Tls(certificate=Path("node.pem"), key=Path("node.key"), ca=Path("ca.pem"))
    more = {"rules_file": settings.data_dir / "rules.yaml", "audit_syslog": AuditSyslog(host="collector", tls=tls)}
    settings = settings.model_copy(update=more)
    asked = {name for expression in expressions() for name in re.findall(r"dicom_node_\w+", expression)}
    assert asked - names_told(settings, sqlite_sessions) == set()


def test_the_alerts_are_raised_when_they_should_and_not_before() -> None:
    promtool = require_peer("promtool")
    for check in (["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]):
        done = subprocess.run([promtool, *check], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_panels_of_the_dashboard_lie_side_by_side() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24  # columns of Grafana
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("role", ROLES)
def test_compose_asks_every_role_how_it_is(role: str) -> None:
    assert SERVICES[role]["healthcheck"]["test"] == ["CMD", "dicom-node", "health", role]


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_what_watches_is_of_a_fixed_version(service: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[service]["image"])
