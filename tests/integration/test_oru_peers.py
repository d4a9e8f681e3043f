"""The ORU in the ears of two Node.js libraries that have nothing to do with this node."""

import json
from pathlib import Path

import pytest
from delivery_peers import node_receivers
from report_samples import make_document
from test_oru_cancellation import withdrawn
from test_oru_profiles import TEXT_TYPES, VERSIONS, ris
from waiting import LONG_S, wait_until

from dicom_node.states import DeliveryKind
from integration.destinations import Outcome
from integration.mllp import MllpSender

_TOLD = ("type", "control_id", "obr25", "obx", "obx5", "obx11")
# All of it within the 80 characters of OBX-5 that the receivers tell.
TEXT = {"disclaimer": "AI DRAFT, not reviewed", "findings": "4 & | ^ \\ ~ \\.br\\ ß山😀שלום\nTwo"}


@pytest.mark.parametrize("kind", [DeliveryKind.ORU, DeliveryKind.CANCELLATION])
def test_every_profile_arrives_as_it_was_sent(kind: DeliveryKind, tmp_path: Path) -> None:
    document = withdrawn(**TEXT) if kind is DeliveryKind.CANCELLATION else make_document(**TEXT)
    said, sent = tmp_path / "said", []
    with node_receivers(said=said) as ports:
        for version in VERSIONS:
            for text_type in TEXT_TYPES:
                for port in ports:
                    to = ris(version=version, text_type=text_type, port=port, timeout_s=LONG_S)
                    payload = MllpSender(to, kind).encode(document).payload
                    assert MllpSender(to, kind).send(payload).outcome is Outcome.DELIVERED
                    sent.append(_as_told(payload.decode()))
        wait_until(lambda: len(_heard(said)) == len(sent), "both have written down what they heard")
    assert _heard(said) == sent


def _heard(said: Path) -> list[dict[str, object]]:
    """What they heard, in the order in which it came."""
    lines = [json.loads(line) for line in said.read_text().splitlines()]
    return [{name: line[name] for name in _TOLD} for line in lines if "type" in line]


def _as_told(text: str) -> dict[str, object]:
    """What `receivers.cjs` tells of a message."""
    segments = [segment.split("|") for segment in text.split("\r")[:-1]]
    rows = [segment for segment in segments if segment[0] == "OBX"]
    (request,) = [segment for segment in segments if segment[0] == "OBR"]
    return {
        "type": segments[0][8],
        "control_id": segments[0][9],
        "obr25": request[25],
        "obx": len(rows),
        "obx5": [row[5][:80] for row in rows],
        "obx11": [row[11] for row in rows],
    }
