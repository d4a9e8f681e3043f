"""docker-compose.yml, its image and its variables are what deploy/README.md and deploy/security.md say of them."""

import re
import tomllib

import pytest
import yaml
from compose_file import (
    COMPOSE,
    COMPOSE_TEXT,
    ENV_TEXT,
    GPU_TEXT,
    NODE_SERVICES,
    ONE_SHOT,
    ROOT,
    SERVICES,
    default,
    docker_compose,
    mounts,
    networks,
    reaches_outside,
)

from dicom_node.config import Settings
from dicom_node.roles import ROLES, roles_of
from dicom_node.supervisor import _TERM_TIMEOUT_S

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
PROMETHEUS = (ROOT / "deploy/monitoring/prometheus.yml").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LASTING = [name for name in SERVICES if name not in ONE_SHOT]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_a_service_of_the_same_image(role: str) -> None:
    assert SERVICES[role]["command"] == role
    assert SERVICES[role]["image"] == SERVICES["migrate"]["image"]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_knows_that_hl7_runs_and_is_missed(role: str) -> None:
    """By its port: `health`, alarms and metrics of relay and web ask for the roles of their own settings."""
    assert "hl7" in roles_of(Settings(hl7_port=SERVICES[role]["environment"].get("DICOM_NODE_HL7_PORT")))


def test_the_image_has_the_version_of_this_checkout() -> None:
    assert default(SERVICES["migrate"]["image"]) == f"dicom-node:{PROJECT['version']}"


@pytest.mark.parametrize("service", SERVICES)
def test_no_image_is_the_latest(service: str) -> None:
    assert re.search(r":v?\d[\w.-]*$", default(SERVICES[service]["image"]))


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_limits(service: str) -> None:
    assert SERVICES[service]["mem_limit"]
    assert SERVICES[service]["pids_limit"] > 0


@pytest.mark.parametrize("service", SERVICES)
def test_the_log_of_every_service_ends_somewhere(service: str) -> None:
    assert {"max-size", "max-file"} <= SERVICES[service]["logging"]["options"].keys()


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_gains_privileges(service: str) -> None:
    assert "no-new-privileges:true" in SERVICES[service]["security_opt"]
    assert not SERVICES[service].keys() & {"privileged", "devices", "pid", "ipc"}


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "orthanc"])
def test_every_root_file_system_is_read_only_and_has_no_capabilities(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert "cap_add" not in SERVICES[service] or service == "db"  # begins as root, becomes postgres


@pytest.mark.parametrize("service", LASTING)
def test_what_lasts_is_started_again_and_asked_how_it_is(service: str) -> None:
    assert SERVICES[service]["restart"] == "unless-stopped"
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("service", ONE_SHOT)
def test_what_runs_once_is_not_started_again(service: str) -> None:
    assert SERVICES[service]["restart"] == "no"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_end_what_it_works_on(role: str) -> None:
    assert float(SERVICES[role]["stop_grace_period"].removesuffix("s")) > _TERM_TIMEOUT_S


@pytest.mark.parametrize("service", ["db", "redis", "sweep", "worker", "migrate"])
def test_what_speaks_to_no_peer_reaches_nothing_outside(service: str) -> None:
    assert networks(service) == {"inside"}
    assert not reaches_outside(service)


@pytest.mark.parametrize("service", [name for name in SERVICES if "ports" in SERVICES[name]])
def test_ports_are_this_hosts_alone_until_a_site_says_otherwise(service: str) -> None:
    assert all(default(port).startswith("127.0.0.1:") for port in SERVICES[service]["ports"])


def test_images_are_written_by_those_who_receive_or_remove_them() -> None:
    writers = {role for role in ROLES if mounts(role).get("/data")}
    assert writers == {"scp", "web", "hl7", "puller"}


def test_no_secret_stands_in_a_file_or_in_the_environment() -> None:
    for name, service in SERVICES.items():
        secret = [key for key in service.get("environment", {}) if re.search("PASSWORD|TOKEN|KEY", key)]
        assert [key for key in secret if not key.endswith("_FILE")] == [], name
    assert not re.search("PASSWORD|TOKEN", ENV_TEXT)


def test_the_secrets_that_are_made_are_those_that_are_read() -> None:
    made = set(SERVICES["secrets"]["command"])
    read = set(re.findall(r"/run/secrets/(\w+)", COMPOSE_TEXT + PROMETHEUS))
    settings = {name for name in made if name.startswith("dicom_node_")}
    assert read <= made
    assert {name.removeprefix("dicom_node_") for name in settings} <= Settings.model_fields.keys()
    assert made - settings <= read


@pytest.mark.parametrize("service", [name for name in NODE_SERVICES if name not in ("secrets", "ris")])
def test_a_role_reads_secrets_and_cannot_change_them(service: str) -> None:
    assert mounts(service)["/run/secrets"] is False
    assert SERVICES[service]["environment"]["DICOM_NODE_SECRETS"] == "/run/secrets"


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_who_watches_sees_the_secrets_that_are_copied_and_no_others(service: str) -> None:
    copied = set(SERVICES["secrets"]["environment"]["WATCHING"].split())
    assert copied == {"dicom_node_metrics_token", "grafana_password"}
    assert "watching-secrets:/run/secrets:ro" in SERVICES[service]["volumes"]
    assert not any(volume.startswith("secrets:") for volume in SERVICES[service]["volumes"])
    read = PROMETHEUS if service == "prometheus" else str(SERVICES[service]["environment"])
    assert set(re.findall(r"/run/secrets/(\w+)", read)) < copied


@pytest.mark.parametrize("service", ["worker", "web"])
def test_who_loads_or_examines_the_model_sees_it_and_cannot_change_it(service: str) -> None:
    assert mounts(service)["/models"] is False


def test_the_folders_of_volumes_that_are_written_are_the_images_own() -> None:
    (made,) = re.findall(r"install -d -o node -g node (.+)$", DOCKERFILE, re.MULTILINE)
    written = {where for name in NODE_SERVICES for where, may_write in mounts(name).items() if may_write}
    assert written <= set(made.split())


def test_every_variable_is_explained_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):[-+]([^}]*)", COMPOSE_TEXT + GPU_TEXT)[::-1])
    explained = dict(re.findall(r"^# ([A-Z0-9_]+)=(.*)$", ENV_TEXT, re.MULTILINE))
    assert explained.keys() - {"COMPOSE_FILE"} == used.keys()
    plain = {name: value for name, value in used.items() if name not in ("MODEL", "PIP_EXTRA_INDEX_URL")}
    assert {name: explained[name] for name in plain} == plain


def test_one_variable_says_how_many_gpus() -> None:
    worker = yaml.safe_load(GPU_TEXT)["services"]["worker"]
    assert (worker["scale"], worker["environment"]["GPUS"]) == ("${GPUS:-1}", "${GPUS:-1}")
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"]) == ("nvidia", "all")


def test_nothing_newer_than_compose_2_20_or_engine_20_10_is_asked_for() -> None:
    newer = r"!reset|!override|start_interval|develop:|post_start|pre_stop|^include:|provider:|gpus:|required:"
    assert not re.search(newer, COMPOSE_TEXT + GPU_TEXT, re.MULTILINE)
    assert not re.search(r"^# syntax|<<|--link|--mount", DOCKERFILE, re.MULTILINE)


def test_the_image_is_built_in_stages_from_a_fixed_slim_one_and_runs_as_nobody_in_particular() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert (stages[0], stages[-1]) == ("python:3.11-slim-bookworm", "python:3.11-slim-bookworm")
    assert len(stages) > 1
    last = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    assert "pip install" not in last
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)


@pytest.mark.parametrize("files", [(), ("-f", "docker-compose.yml", "-f", "deploy/gpu.yml")])
def test_docker_itself_reads_it_without_a_word(files: tuple[str, ...]) -> None:
    profiles = [word for name in ("demo", "monitoring", "pull") for word in ("--profile", name)]
    assert docker_compose(*files, *profiles, "config", "--quiet") == ""


def test_every_volume_and_network_is_used() -> None:
    used = {default(volume).split(":")[0] for each in SERVICES.values() for volume in each.get("volumes", ())}
    assert COMPOSE["volumes"].keys() == {name for name in used if not name.startswith(".")}
    assert COMPOSE["networks"].keys() == {name for service in SERVICES for name in networks(service)}
