"""A worker that hears its bell from Celery, told to stop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine
from waiting import wait_until

from dicom_node.broker import make_broker
from dicom_node.config import Settings

pytestmark = pytest.mark.system
_LOAD_S, _STOP_S = 120.0, 60.0


def test_a_celery_worker_that_is_told_to_stop_ends_in_order(
    settings: Settings, sqlite_engine: Engine, redis_url: str, tiny_model: Path
) -> None:
    environment = {
        **os.environ,
        "DICOM_NODE_DATA_DIR": str(settings.data_dir),
        "DICOM_NODE_MODEL_DIR": str(tiny_model),
        "DICOM_NODE_BROKER_URL": redis_url,
        "OMP_NUM_THREADS": "1",
    }
    log = settings.data_dir / "worker.log"
    with log.open("wb") as written:
        command = [sys.executable, "-m", "dicom_node", "worker"]
        worker = subprocess.Popen(command, env=environment, cwd=settings.data_dir, stdout=written, stderr=written)
    try:
        control = make_broker(settings.model_copy(update={"broker_url": SecretStr(redis_url)})).control
        wait_until(lambda: control.ping(timeout=0.5), "the worker listens to the broker", _LOAD_S)
        worker.terminate()
        assert worker.wait(_STOP_S) == 0
    finally:
        worker.kill()
        worker.wait()
    told = log.read_text(encoding="utf-8")
    assert "role_stopped" in told
    assert "role_cannot_run" not in told
