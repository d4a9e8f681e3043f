from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny_model

from dicom_node.errors import UndecodablePixels
from workers.engine_process import EngineProcess
from workers.llavarad.engine import Engine


def test_process_and_engine_write_the_same(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    engine = Engine.load(tmp_path / "model", max_new_tokens=20, device="cpu")
    process = EngineProcess(tmp_path / "model", max_new_tokens=20, timeout_s=60)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 80), dtype=np.uint8)
    try:
        process.start()
        assert process.identity.name == engine.identity.name
        assert process.write_findings(pixels, "cough").text == engine.write_findings(pixels, "cough").text
        with pytest.raises(UndecodablePixels):
            process.write_findings(np.zeros((1, 90), dtype=np.uint8), None)
    finally:
        process.close()
