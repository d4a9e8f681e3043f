"""deploy/kubernetes: rendered by kubectl, valid for Kubernetes, and the same node as docker-compose.yml."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_file import SERVICES, default, mounts, reaches_outside
from doubles import FrozenClock
from foreign import require_peer
from prometheus_client import CollectorRegistry

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.metrics.collector import NodeCollector
from dicom_node.roles import ROLES
from dicom_node.setting_sources import CONFIG_FILE_VARIABLE
from dicom_node.supervisor import _TERM_TIMEOUT_S

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
VERSIONS = ["1.28", "1.37"]  # the oldest that deploy/kubernetes.md promises, and the newest known here
FOREIGN = {"ScaledObject", "ServiceMonitor"}  # of KEDA and of the Prometheus operator
# In compose of services of the same project, and of the host; in Kubernetes secrets, a component, and the Ingress.
_ELSEWHERE = {
    "DICOM_NODE_DATABASE_URL",
    "DICOM_NODE_BROKER_URL",
    "DICOM_NODE_MODEL_DIR",
    "DICOM_NODE_HTTP_PUBLISHED_AT",
}
_PLACE = "DICOM_NODE_SECRETS"  # /run/secrets is Kubernetes's own
Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    kubectl = require_peer("kubectl")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture(scope="module")
def base() -> list[Manifest]:
    return render(FOLDER / "base")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The example as a site would fill it in, with all that can be added."""
    folder = tmp_path_factory.mktemp("kubernetes") / "copy"
    shutil.copytree(FOLDER, folder)
    shutil.copyfile(folder / "site/secrets.env.example", folder / "site/secrets.env")
    file = folder / "site/kustomization.yaml"
    file.write_text(file.read_text().replace("components: []", "components: [../gpu, ../autoscaling]"))
    return render(folder / "site")


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod_of(manifests: list[Manifest], role: str) -> Manifest:
    kind = "Job" if role == "migrate" else "Deployment"
    return one(manifests, kind, role)["spec"]["template"]


def container_of(manifests: list[Manifest], role: str) -> Manifest:
    (container,) = pod_of(manifests, role)["spec"]["containers"]
    return container


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(site: list[Manifest], version: str) -> None:
    for each in site:
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, version, strict=True)


def test_every_role_is_a_deployment_and_nothing_else_is(base: list[Manifest]) -> None:
    deployments = {each["metadata"]["name"] for each in base if each["kind"] == "Deployment"}
    assert deployments == set(ROLES)


@pytest.mark.parametrize("role", [*ROLES, "migrate"])
def test_a_role_is_run_as_compose_runs_it(base: list[Manifest], role: str) -> None:
    container, service = container_of(base, role), SERVICES[role]
    assert container["args"] == [service["command"]]
    assert container["image"] == default(service["image"])
    grace_s = pod_of(base, role)["spec"]["terminationGracePeriodSeconds"]
    assert f"{grace_s}s" == service["stop_grace_period"]
    assert container["resources"]["limits"]["memory"] == _binary(default(service["mem_limit"]))


@pytest.mark.parametrize("role", [*ROLES, "migrate"])
def test_a_role_has_the_variables_that_it_has_in_compose(base: list[Manifest], role: str) -> None:
    here = {each["name"]: each["value"] for each in container_of(base, role)["env"]}
    there = {name: value for name, value in SERVICES[role]["environment"].items() if name not in _ELSEWHERE}
    assert {**here, _PLACE: ""} == {**there, _PLACE: ""}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_the_images_as_compose_mounts_them(base: list[Manifest], role: str) -> None:
    mounted = {each["mountPath"]: not each.get("readOnly", False) for each in container_of(base, role)["volumeMounts"]}
    assert mounted.get("/data") == mounts(role).get("/data")


@pytest.mark.parametrize("role", ROLES)
def test_every_probe_asks_the_role_how_it_is(base: list[Manifest], role: str) -> None:
    container, asked = container_of(base, role), SERVICES[role]["healthcheck"]["test"][1:]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == asked
    starts_within_s = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
    assert starts_within_s >= float(SERVICES[role]["healthcheck"]["start_period"].removesuffix("s"))


@pytest.mark.parametrize("role", [*ROLES, "migrate"])
def test_a_pod_may_do_no_more_than_it_must(base: list[Manifest], role: str) -> None:
    spec, container = pod_of(base, role)["spec"], container_of(base, role)
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_no_pod_reaches_or_is_reached_but_for_what_is_named(base: list[Manifest]) -> None:
    policy = one(base, "NetworkPolicy", "nothing-else")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not policy.keys() & {"ingress", "egress"}
    selected = policy["podSelector"]["matchLabels"].items()
    assert all(selected <= pod_of(base, role)["metadata"]["labels"].items() for role in [*ROLES, "migrate"])


@pytest.mark.parametrize("role", [*ROLES, "migrate"])
def test_a_role_meets_others_outside_only_where_compose_lets_it(base: list[Manifest], role: str) -> None:
    labels = pod_of(base, role)["metadata"]["labels"].items()
    chosen = [
        each["metadata"]["name"]
        for each in base
        if each["kind"] == "NetworkPolicy" and each["spec"]["podSelector"]["matchLabels"].items() <= labels
    ]
    assert bool(set(chosen) - {"nothing-else", "inside"}) == reaches_outside(role)


def test_the_page_is_reached_from_named_namespaces_alone(base: list[Manifest], site: list[Manifest]) -> None:
    for manifests in (base, site):
        (rule,) = one(manifests, "NetworkPolicy", "web")["spec"]["ingress"]
        (source,) = rule["from"]
        (chosen,) = source["namespaceSelector"]["matchExpressions"]
        assert (chosen["key"], chosen["operator"]) == ("kubernetes.io/metadata.name", "In")
        assert chosen["values"] == ["ingress-nginx", "monitoring"]


def test_who_sees_the_images_sends_nothing_to_anywhere(base: list[Manifest], site: list[Manifest]) -> None:
    for manifests in (base, site):
        names, rows = one(manifests, "NetworkPolicy", "inside")["spec"]["egress"]
        assert {each["port"] for each in names["ports"]} == {53}
        assert names["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
        assert {each["port"] for each in rows["ports"]} == {5432, 6379}
        assert rows["to"]
    assert one(base, "NetworkPolicy", "inside")["spec"]["egress"][1]["to"] == [{"podSelector": {}}]
    assert all("ipBlock" in peer for peer in one(site, "NetworkPolicy", "inside")["spec"]["egress"][1]["to"])


def test_what_peers_call_keeps_their_address(base: list[Manifest]) -> None:
    for role in ("scp", "hl7"):
        service = one(base, "Service", role)["spec"]
        assert (service["type"], service["externalTrafficPolicy"]) == ("LoadBalancer", "Local")


def test_receiving_goes_on_while_a_node_of_the_cluster_is_drained(base: list[Manifest]) -> None:
    assert (
        one(base, "Deployment", "scp")["spec"]["replicas"]
        > one(base, "PodDisruptionBudget", "scp")["spec"]["minAvailable"]
    )


@pytest.mark.parametrize("role", ["scp", "hl7", "web"])
def test_who_is_connected_to_leaves_after_the_last_connection_was_led_to_it(base: list[Manifest], role: str) -> None:
    """Endpoints are taken away while the pod ends, not before: who has closed its port by then refuses senders."""
    sleep, seconds = container_of(base, role)["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    grace_s = pod_of(base, role)["spec"]["terminationGracePeriodSeconds"]
    assert int(seconds) + _TERM_TIMEOUT_S <= grace_s  # which the hook's time is a part of


def test_images_can_be_shared_by_pods_of_several_nodes(base: list[Manifest]) -> None:
    assert one(base, "PersistentVolumeClaim", "instances")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_worker_of_a_site_with_gpus_has_one_card_and_the_model(site: list[Manifest]) -> None:
    container = container_of(site, "worker")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "DICOM_NODE_MODEL_DIR", "value": "/models/llava-rad"} in container["env"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]


def test_a_worker_gives_its_card_back_before_the_next_one_wants_it(site: list[Manifest]) -> None:
    rollout = one(site, "Deployment", "worker")["spec"]["strategy"]["rollingUpdate"]
    assert rollout == {"maxSurge": 0, "maxUnavailable": 1}


def test_who_sees_the_model_in_compose_sees_the_one_of_a_site_with_gpus(site: list[Manifest]) -> None:
    """Else the doctor and the page say that the model for tests is the one that drafts."""
    for role in ROLES:
        container = container_of(site, role)
        has_model = {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
        assert has_model == ("/models" in mounts(role))
        assert has_model == ("DICOM_NODE_MODEL_DIR" in {each["name"] for each in container["env"]})


def test_workers_are_scaled_by_a_number_that_the_node_tells(
    site: list[Manifest], settings: Settings, sqlite_sessions: Sessions
) -> None:
    settings.instances_dir.mkdir()
    registry = CollectorRegistry()
    registry.register(NodeCollector(settings, sqlite_sessions, FrozenClock()))
    told = {family.name for family in registry.collect()}
    scaled = one(site, "ScaledObject", "worker")["spec"]
    (trigger,) = scaled["triggers"]
    asked = re.findall(r"dicom_node_\w+", trigger["metadata"]["query"])
    assert asked == ["dicom_node_oldest_queued_job_seconds"]
    assert set(asked) <= told
    assert trigger["metadata"]["ignoreNullValues"] == "false"  # while the node tells nothing their number stays
    assert (scaled["scaleTargetRef"], scaled["minReplicaCount"]) == ({"name": "worker"}, 1)
    assert "replicas" not in one(site, "Deployment", "worker")["spec"]


def test_prometheus_finds_the_port_and_the_token(site: list[Manifest]) -> None:
    (endpoint,) = one(site, "ServiceMonitor", "dicom-node")["spec"]["endpoints"]
    (port,) = one(site, "Service", "web")["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    credentials = endpoint["authorization"]["credentials"]
    assert credentials["key"] in one(site, "Secret", credentials["name"])["data"]


def test_the_alerts_find_the_job_by_the_name_that_they_have_for_it(site: list[Manifest]) -> None:
    label = one(site, "ServiceMonitor", "dicom-node")["spec"].get("jobLabel", "")
    job = one(site, "Service", "web")["metadata"]["labels"].get(label)
    assert f'up{{job="{job}"}}' in (FOLDER.parent / "monitoring/rules.yml").read_text(encoding="utf-8")


def test_the_secrets_of_a_site_are_settings(site: list[Manifest]) -> None:
    named = one(site, "Secret", "dicom-node-secrets")["data"].keys()
    assert {name.removeprefix("dicom_node_") for name in named} <= Settings.model_fields.keys()


@pytest.fixture
def configured(site: list[Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As a pod of the site would read them."""
    (settings,) = [each for each in site if each["kind"] == "ConfigMap"]
    file = tmp_path / "dicom-node.toml"
    file.write_text(settings["data"]["dicom-node.toml"])
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(file))
    return Settings()


def test_the_settings_of_the_example_are_valid(configured: Settings) -> None:
    assert configured.destination_names == ("pacs", "ris")


def test_a_changed_settings_file_makes_the_pods_anew(site: list[Manifest]) -> None:
    (settings,) = [each for each in site if each["kind"] == "ConfigMap"]
    assert settings["metadata"]["name"] != "dicom-node-settings"
    assert settings["metadata"]["name"] in json.dumps(pod_of(site, "scp"))


def _binary(size: str) -> str:
    """Compose's 512m, 4g as Kubernetes writes them: both are powers of two."""
    return f"{size[:-1]}{size[-1].upper()}i"


def test_a_puller_is_alone_when_it_starts_and_takes_back_what_the_last_one_held(base: list[Manifest]) -> None:
    assert one(base, "Deployment", "puller")["spec"]["strategy"] == {"type": "Recreate"}
