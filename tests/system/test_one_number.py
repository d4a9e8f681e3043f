"""One number a study: in the log of every role, in its trace, and with the audit trail on its way to a collector."""

import json
from pathlib import Path

import pytest
from collectors import Rsyslog, said, taking_traces
from films import write_dx
from house import Node, require, storescu, wait_until

from dicom_node.models import Shipped
from dicom_node.tracing.shipping import STREAM
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

WAIT_S = 120.0
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
STORY = {
    ("scp", "study_comes"),
    ("sweep", "study_complete"),
    ("worker", "job_answered"),
    ("relay", "delivery_judged"),
}


def test_one_number_tells_the_story_of_a_study_from_its_first_object_to_the_acknowledgement(
    tmp_path: Path, backend: str, tiny_model: Path
) -> None:
    require("storescu")
    rsyslog = Rsyslog(tmp_path)
    rsyslog.start()
    with (
        LoopbackPacs(tmp_path / "pacs") as pacs,
        LoopbackRis(tmp_path / "ris") as ris,
        taking_traces() as (traces, endpoint),
    ):
        tls = rsyslog.settings.tls
        node = Node(
            tmp_path / "node",
            f'{backend}model_dir = "{tiny_model}"\nmin_free_bytes = 0\nidle_timeout_s = 0.5\n'
            f'traces_endpoint = "{endpoint}"\n'
            f'[[pacs]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
            f'[[ris]]\nname = "ris"\nhost = "127.0.0.1"\nport = {ris.port}\n'
            f'[audit_syslog]\nhost = "127.0.0.1"\nport = {rsyslog.settings.port}\n'
            f'[audit_syslog.tls]\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\nca = "{tls.ca}"\n',
        )
        node.start()
        try:
            wait_until(lambda: is_shipping(node), WAIT_S, "the relay looks for traces from here on")
            for number in (1, 2):
                uids = {name: f"1.2.826.0.{number}.{at}" for at, name in enumerate(_UIDS)}
                film = write_dx(tmp_path / f"{number}.dcm", **uids)
                assert storescu(node.port, film).returncode == 0
            wait_until(lambda: told(node) >= STORY, WAIT_S, "every role tells of the first study")
            names = ("receive", "select", "draft", "deliver", "deliver")
            wait_until(lambda: spans_of(traces.spans, 1) == sorted(names), WAIT_S, "the trace is whole")
            wait_until(lambda: transfers(rsyslog) >= 2, WAIT_S, "the collector has the transfers")
        finally:
            node.stop()
            rsyslog.stop()
    lines = lines_of(node)
    assert [line for line in lines if line.keys() & {"job", "delivery"} and "study" not in line] == []
    assert {line["study"] for line in lines if "study" in line} == {1, 2}
    assert len({span.trace_id for span in traces.spans if said(span)["study"] == 1}) == 1
    assert "CANARY" not in str(traces.spans)


def is_shipping(node: Node) -> bool:
    with node.sessions()() as session:
        return session.get(Shipped, STREAM) is not None


def lines_of(node: Node) -> list[dict[str, object]]:
    """Those that are written to their end."""
    lines = node.log.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def told(node: Node) -> set[tuple[object, object]]:
    return {(line["role"], line["event"]) for line in lines_of(node) if line.get("study") == 1}


def spans_of(spans: list[object], study: int) -> list[str]:
    return sorted(span.name for span in spans if said(span)["study"] == study)  # type: ignore[attr-defined,arg-type]


def transfers(rsyslog: Rsyslog) -> int:
    return sum('csd-code="110104"' in line for line in rsyslog.lines())
