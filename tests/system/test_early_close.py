"""A film is drafted before the quiet timer has run, because its sender released the association."""

import time
from pathlib import Path

import pytest
from films import write_dx
from house import Node, require, storescu

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

IDLE_TIMEOUT_S = 300


def test_a_film_that_dcmtk_sent_is_drafted_well_before_the_idle_timeout(
    tmp_path: Path, backend: str, tiny_model: Path
) -> None:
    require("storescu")
    film = write_dx(tmp_path / "film.dcm")
    node = Node(tmp_path / "node", _settings(tiny_model, backend))
    try:
        node.start()
        began = time.monotonic()
        done = storescu(node.port, film)
        assert done.returncode == 0, done.stderr
        (status,) = node.wait_settled(1, timeout_s=IDLE_TIMEOUT_S / 2).values()
        seconds = time.monotonic() - began
        told = node.command("status", str(status.study_id))
    finally:
        node.stop()
    print(f"drafted {seconds:.1f} s after it was sent")
    assert (status.where, seconds < IDLE_TIMEOUT_S / 2) == ("done", True), status.why
    assert "receiving → complete (the association that sent it was released)" in told


def _settings(tiny_model: Path, backend: str) -> str:
    common = f'model_dir = "{tiny_model}"\nidle_timeout_s = {IDLE_TIMEOUT_S}\n'
    return f"{common}{backend}[completeness]\non_release = true\n"
