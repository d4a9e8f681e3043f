"""Runs every check, shows what each found, and says by the exit status whether the node can work."""

import json
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from dicom_node.config import Settings
from dicom_node.doctor.collectors import check_collector, check_provider
from dicom_node.doctor.diagnosis import Check, Diagnosis, Verdict
from dicom_node.doctor.machine import check_certificates, check_disk, check_folder, check_ports
from dicom_node.doctor.peers import check_pacs, check_senders, check_sources
from dicom_node.doctor.services import check_broker, check_database
from dicom_node.notify.doctor import check_channels
from dicom_node.retention.doctor import check_removal
from dicom_node.rules.doctor import check_rules

CHECKS: tuple[Check, ...] = (
    check_folder,
    check_disk,
    check_ports,
    check_certificates,
    check_database,
    check_broker,
    check_senders,
    check_pacs,
    check_sources,
    check_channels,
    check_rules,
    check_removal,
    check_provider,
    check_collector,
)
# The core knows the arms by these names only.
_OF_THE_ARMS = ("integration.doctor:check_ris", "workers.doctor:check_model")
_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "bold red"}


def run(settings: Settings, *, as_json: bool) -> int:
    """Returns the exit status: 1 if there is a fault."""
    found = list(diagnose(settings))
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        Console().print(_table(found))
    return 1 if any(each.verdict == Verdict.FAULT for each in found) else 0


def diagnose(settings: Settings) -> Iterator[Diagnosis]:
    """What all checks find, in their order; peers that do not answer are waited for at the same time."""
    checks = (*CHECKS, *(pkgutil.resolve_name(name) for name in _OF_THE_ARMS))
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        for found in pool.map(lambda check: list(check(settings)), checks):
            yield from found


def _table(found: list[Diagnosis]) -> Table:
    folded = (Column(name, overflow="fold") for name in ("found", "fix"))  # never cut: the value may be what is wrong
    table = Table("what", "", *folded)
    for each in found:
        verdict = Text(each.verdict, style=_STYLES[each.verdict])
        table.add_row(each.what, verdict, Text(each.words), Text(each.fix))
    return table
