"""Rules under a node that runs: changed, spoilt, mended; and a worker that is killed meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from house import Node, kill, require, storescu, wait_until

from workers.phantom.case import Case
from workers.phantom.film import film_dataset
from workers.phantom.habits import Habits

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

NO_WARD = "rules: [{name: no ward, when: {calling_ae: WARD*}, read: no}]"
NO_ER = "rules: [{name: no er, when: {calling_ae: ER}, read: no}]"
BAD = "rules: [{name: no er, when: {calling_ae: ER}, reed: no}]"


@dataclass
class Site:
    """A node, its file of rules, and films to send."""

    node: Node
    file: Path
    sent: list[str] = field(default_factory=list)  # Study Instance UIDs

    def send(self, calling_ae: str) -> str:
        studied_at = datetime(2026, 3, 1, 9, len(self.sent), tzinfo=UTC)
        names = {"accession_number": f"A{len(self.sent)}", "studied_at": studied_at}
        film = film_dataset(Case(len(self.sent) + 1), Habits(), **names)  # type: ignore[arg-type]
        path = self.file.with_name(f"{len(self.sent)}.dcm")
        film.save_as(path, enforce_file_format=True)
        assert storescu(self.node.port, path, calling_ae=calling_ae).returncode == 0
        self.sent.append(str(film.StudyInstanceUID))
        return self.sent[-1]

    def outcome(self, calling_ae: str) -> tuple[str, str]:
        """Where a film of this sender ends, and why."""
        uid = self.send(calling_ae)
        status = self.node.wait_settled(len(self.sent))[uid]
        return status.where, status.why

    def replace(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def count(self, event: str) -> int:
        return self.node.log.read_text(encoding="utf-8").count(f'"{event}"')


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require("storescu")
    file = tmp_path / "rules.yml"
    file.write_text(NO_WARD)
    node = Node(tmp_path / "node", f'idle_timeout_s = 0.5\nrules_file = "{file}"\n')
    node.start()
    try:
        yield Site(node, file)
    finally:
        node.stop()


SKIPPED_WARD = ("skipped", "rule no ward took it: it is not to be read")
SKIPPED_ER = ("skipped", "rule no er took it: it is not to be read")


def test_rules_are_changed_spoilt_and_mended_under_a_running_node(site: Site) -> None:
    assert (site.outcome("WARD1"), site.outcome("ER")[0]) == (SKIPPED_WARD, "done")
    site.replace(NO_ER)
    wait_until(lambda: site.count("rules_in_force") == 2, 60, "the worker has the new rules")
    assert (site.outcome("WARD1")[0], site.outcome("ER")) == ("done", SKIPPED_ER)
    site.replace(BAD)
    wait_until(lambda: site.count("rules_refused") == 1, 60, "the worker refuses the bad file")
    assert (site.outcome("WARD1")[0], site.outcome("ER")) == ("done", SKIPPED_ER)

    kill(site.node.role_pids()["worker"])
    wait_until(lambda: site.count("rules_refused") == 2, 120, "the new worker refuses the bad file, too")
    uid = site.send("ER")
    statuses = site.node.statuses
    wait_until(lambda: statuses(site.node.sessions()).get(uid) is not None, 60, "the film is here")
    wait_until(lambda: statuses(site.node.sessions())[uid].where == "queued", 60, "its job waits")
    site.replace(NO_WARD)
    assert site.node.wait_settled(len(site.sent))[uid].where == "done"
