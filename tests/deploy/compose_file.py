"""docker-compose.yml and what belongs to it, as the tests read them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.roles import ROLES

ROOT = Path(__file__).parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
GPU_TEXT = (ROOT / "deploy/gpu.yml").read_text(encoding="utf-8")
ENV_TEXT = (ROOT / ".env.example").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
ONE_SHOT = ("secrets", "migrate")
# What runs our image.
NODE_SERVICES = (*ROLES, "migrate", "secrets", "ris")


def default(text: str) -> str:
    """With the default of each variable in its place."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def networks(service: str) -> set[str]:
    return set(SERVICES[service].get("networks", ()))


def reaches_outside(service: str) -> bool:
    return any(not (COMPOSE["networks"][name] or {}).get("internal") for name in networks(service))


def mounts(service: str) -> dict[str, bool]:
    """Of the volumes of a service: where each lies, and whether it may be written."""
    parts = [default(volume).split(":") for volume in SERVICES[service].get("volumes", ())]
    return {where: "ro" not in rest for _, where, *rest in parts}


def docker_compose(*arguments: str) -> str:
    """What `docker compose` prints; skips the test where it is not installed. No engine is needed."""
    try:
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("docker compose is not installed: its own look at the file is left out")
    command = ["docker", "compose", "--env-file", ".env.example", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
