"""The guides for administrators say what is so: their files, links, commands, and what they quote of the node."""

import re
import tomllib
from pathlib import Path

import pytest
from compose_file import COMPOSE_TEXT, SERVICES, docker_compose, reaches_outside
from guides import GUIDES, ROOT, compose_commands, fenced, named, node_commands, quotes, sentences_of_the_code
from typer.main import get_command

from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.setting_sources import CONFIG_FILE_VARIABLE

EVERY_GUIDE = pytest.mark.parametrize("guide", GUIDES, ids=named)
_VERBS = ("build", "down", "exec", "logs", "ps", "restart", "run", "up")


@pytest.fixture(scope="module")
def said() -> str:
    return "\n".join(sentences_of_the_code())


@EVERY_GUIDE
def test_what_a_guide_quotes_is_what_the_node_says(guide: Path, said: str) -> None:
    assert [quote for quote in quotes(guide) if quote not in said] == []


@EVERY_GUIDE
def test_the_settings_in_a_guide_are_taken(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "dicom-node.toml"
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(file))
    for block in fenced(guide, "toml"):
        file.write_text(block, encoding="utf-8")
        taken = Settings()
        assert tomllib.loads(block).keys() <= taken.model_fields_set


@EVERY_GUIDE
def test_every_link_leads_somewhere(guide: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", guide.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (guide.parent / link).exists()] == []


@EVERY_GUIDE
def test_every_command_that_is_named_exists(guide: Path) -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]  # a group
    inline = set(re.findall(r"(?<!-n )dicom-node ([a-z]+)\b", guide.read_text(encoding="utf-8")))
    assert (inline | {words[0] for words in node_commands(guide)}) - known.keys() == set()


@EVERY_GUIDE
def test_a_guide_names_services_and_profiles_of_compose(guide: Path) -> None:
    profiles = {name for service in SERVICES.values() for name in service.get("profiles", ())}
    for words in compose_commands(guide):
        asked = {words[index + 1] for index, word in enumerate(words) if word == "--profile"}
        assert asked <= profiles, words
        (verb,) = [word for word in words if word in _VERBS][:1]
        assert service_of(verb, words) in {None, *SERVICES}, words


@EVERY_GUIDE
def test_docker_knows_the_options_that_a_guide_uses(guide: Path) -> None:
    for words in compose_commands(guide):
        (verb,) = [word for word in words if word in _VERBS][:1]
        known = docker_compose(verb, "--help")
        own = words[words.index(verb) + 1 : len(words) if verb not in ("run", "exec") else _end_of_options(words)]
        assert [word for word in own if word.startswith("--") and word.partition("=")[0] not in known] == [], words


def service_of(verb: str, words: list[str]) -> str | None:
    """The first service that a line names, if it must name one."""
    if verb in ("run", "exec"):
        return words[_end_of_options(words)]
    return next((word for word in words[words.index(verb) + 1 :] if word.isalpha() and not word.isdigit()), None)


def _end_of_options(words: list[str]) -> int:
    """Where the service of `run` and `exec` stands: after the options, three of which have a value."""
    at = next(index for index, word in enumerate(words) if word in ("run", "exec")) + 1
    while words[at].startswith("-"):
        at += 2 if words[at] in ("-v", "-e", "--entrypoint") else 1
    return at


def test_a_site_is_told_to_take_out_what_is_the_demonstrations() -> None:
    own = tomllib.loads((ROOT / "deploy/demo/dicom-node.toml").read_text(encoding="utf-8"))
    guide = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^2\. Copy the folder(.*?)^3\. ", guide, re.MULTILINE | re.DOTALL)
    peers = [f"`{ae_title}`" for ae_title in own["peers"] if ae_title != own["ae_title"]]
    named = [f"`[[{kind}]]` named {each['name']}" for kind in ("pacs", "ris") for each in own[kind]]
    told = " ".join(told.split())
    assert [words for words in (*peers, *named, '`processing_id = "T"`', "`idle_timeout_s`") if words not in told] == []


def test_the_model_can_be_made_as_a_site_is_told() -> None:
    guide = ROOT / "deploy/README.md"
    made = {
        words[at + 1]: words for words in compose_commands(guide) for at, each in enumerate(words) if each == "model"
    }
    download, load = made["download"], made["import"]
    assert reaches_outside(service_of("run", download) or "")  # the image itself is told to stay offline
    assert "HF_HUB_OFFLINE=0" in download
    assert download[-1] == load[-2]
    assert load[load.index("--entrypoint") + 1] == "dicom-node"  # deploy/gpu.yml's would take a card


@pytest.mark.parametrize("guide", ["README.md", "upgrade.md"])
def test_a_new_release_is_built_from_its_checkout(guide: str) -> None:
    told = (ROOT / "deploy" / guide).read_text(encoding="utf-8")
    assert re.search(r"git pull.*`docker compose stop`.*`docker compose up -d --build --wait`", told, re.DOTALL)


def test_ports_in_the_guides_are_those_of_compose() -> None:
    pacs = (ROOT / "deploy/connect-pacs.md").read_text(encoding="utf-8")
    assert "11112" in pacs
    assert ":11112" in COMPOSE_TEXT
