"""Nothing of the published model is loaded or fetched before its terms were accepted."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.errors import Permanent
from workers.llavarad.config import ModelConfig
from workers.terms import require_terms

SENTENCE = "set accept_research_only_terms = true"


def with_model(settings: Settings, licence: str, *, accepted: bool = False) -> Settings:
    folder = settings.data_dir / "model"
    folder.mkdir()
    config = ModelConfig(name="LLaVA-Rad", version="1", licence=licence)  # type: ignore[arg-type]  # one of the three
    (folder / "config.json").write_text(config.model_dump_json())
    return settings.model_copy(update={"model_dir": folder, "accept_research_only_terms": accepted})


def test_research_only_model_is_refused_until_its_terms_are_accepted(settings: Settings) -> None:
    with pytest.raises(Permanent, match=SENTENCE):
        require_terms(with_model(settings, "research-only"))


def test_acceptance_and_notice_are_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    require_terms(with_model(settings, "research-only", accepted=True))
    assert "research_only_terms_accepted" in caplog.text
    assert "non-commercial research only" in caplog.text
    assert "allow-list" not in caplog.text


@pytest.mark.parametrize("licence", ["free", "synthetic"])
def test_other_models_need_no_acceptance(licence: str, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    require_terms(with_model(settings, licence))
    assert caplog.text == ""


def test_missing_model_is_left_to_the_loader(settings: Settings) -> None:
    require_terms(settings)


def test_terms_are_not_accepted_by_default() -> None:
    assert Settings().accept_research_only_terms is False


@pytest.mark.parametrize("arguments", [["import", "SRC", "DEST"], ["download", "DEST"]])
def test_command_refuses_before_the_terms_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["model", *arguments])
    assert isinstance(result.exception, Permanent)
    assert SENTENCE in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_command_imports_when_the_terms_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DICOM_NODE_ACCEPT_RESEARCH_ONLY_TERMS", "true")
    result = CliRunner().invoke(app, ["model", "import", "SRC", "DEST"])
    assert "llava-rad/config.json is missing in SRC" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
