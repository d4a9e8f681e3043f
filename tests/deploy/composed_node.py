"""A node that `docker compose` runs for a check, in a project of its own beside whatever runs on this host."""

import http.cookiejar
import io
import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

ROOT = Path(__file__).resolve().parents[2]
ADMIN, ADMIN_PASSWORD = "admin", "correct horse battery"
_PROJECT = "dicom-node-check"
_PORTS = {"DICOM_PORT": "0", "HTTP_PORT": "0", "HL7_PORT": "0"}  # any that are free
_LOOK_EVERY_S = 1.0

_MAKE_FILMS = """
import contextlib, sys, tarfile
from workers.phantom.film import main
out = sys.stdout.buffer
with contextlib.redirect_stdout(sys.stderr), tarfile.open(fileobj=out, mode="w|") as tar:
    for number in range(int(sys.argv[1])):
        name = f"/tmp/{number}.dcm"
        main([name, "--seed", str(number), "--accession-number", f"CHECK{number:04}"])
        tar.add(name, arcname=f"{number}.dcm")
"""
_COUNT = """
import json
from pathlib import Path
from urllib.request import urlopen
query = {"Level": "Instance", "Query": {"Modality": "SR"}, "Expand": True}
found = json.load(urlopen("http://orthanc:8042/tools/find", json.dumps(query).encode()))
studies = {json.load(urlopen(f"http://orthanc:8042/instances/{each['ID']}/study"))["ID"] for each in found}
orus = [each for each in Path("/inbox").glob("*.hl7") if b"|ORU^R01" in each.read_bytes()]  # no test messages
print(len(found), len(studies), len(orus))
"""


class CheckFailed(Exception):
    """What was expected did not come."""


class Results(NamedTuple):
    """What arrived at the PACS and the RIS."""

    srs: int
    studies_with_sr: int
    orus: int  # by MSH-10


@dataclass(frozen=True)
class ComposedNode:
    """The services of docker-compose.yml with the profile demo."""

    folder: Path  # of films

    def compose(self, *arguments: str, text: str | None = None) -> str:
        """Raises CheckFailed with what Docker said."""
        return self._run(arguments, text).decode()

    def _run(self, arguments: tuple[str, ...], text: str | None = None) -> bytes:
        command = ["docker", "compose", "--ansi", "never", "--progress", "quiet", "--project-name", _PROJECT]
        command += ["--env-file", ".env.example", "--profile", "demo", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **_PORTS},
            input=text and text.encode(),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise CheckFailed(f"{' '.join(arguments)}: {done.stderr.decode()[-2000:]}")
        return done.stdout

    def put_secret(self, name: str, value: str) -> None:
        """Before the first start: the site's own secret."""
        script = f'printf %s "$1" >/run/secrets/{name}'
        self.compose("run", "--rm", "--no-deps", "--entrypoint", "sh", "secrets", "-c", script, "sh", value)

    def make_films(self, count: int) -> list[Path]:
        """Each of a study of its own."""
        made = self._run(
            ("run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "sweep", "-c", _MAKE_FILMS, str(count))
        )
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            tar.extractall(self.folder, filter="data")
        return [self.folder / f"{number}.dcm" for number in range(count)]

    def send(self, film: Path) -> bool:
        """By DCMTK's storescu, as a modality would. False: not taken, so the sender has it still."""
        try:
            host, _, port = self.compose("port", "scp", "11112").strip().rpartition(":")
        except CheckFailed:  # there is no scp at this moment
            return False
        command = ["storescu", "-aet", "STORESCU", "-aec", "CXRNODE", "-to", "5", "-ta", "30", "-td", "30", host, port]
        return subprocess.run([*command, str(film)], capture_output=True, check=False).returncode == 0

    def results(self) -> Results:
        return Results(*map(int, self.compose("exec", "-T", "ris", "python", "-c", _COUNT).split()))

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://{self.compose('port', 'web', '8080').strip()}"

    def log_in(self) -> None:
        """As a browser would; the first time as the one who reads the code in the log. Raises CheckFailed."""
        browser = build_opener(HTTPCookieProcessor(http.cookiejar.CookieJar()))
        base = self.url
        login = browser.open(f"{base}/login").read().decode()  # leads to /first-admin while nobody is there
        csrf = re.search(r'name="csrf" value="(\w+)"', login)
        if csrf is None:
            raise CheckFailed("the page has no form to log in")
        form = {"csrf": csrf.group(1), "name": ADMIN, "password": ADMIN_PASSWORD}
        where = "/login"
        if 'name="again"' in login:
            form |= {"again": ADMIN_PASSWORD, "code": self._first_admin_code()}
            where = "/first-admin"
        page = browser.open(f"{base}{where}", urlencode(form).encode()).read().decode()
        if "/logout" not in page:
            raise CheckFailed("nobody is logged in after the login")

    def _first_admin_code(self) -> str:
        log = self.compose("logs", "--no-color", "--no-log-prefix", "web")
        *_, newest = re.findall(r'\{.*"no_user_yet".*\}', log)
        return str(json.loads(newest)["code"])

    def container(self, service: str) -> dict[str, Any]:
        """As `docker inspect` describes it."""
        name = self.compose("ps", "--all", "--quiet", service).strip()
        described = subprocess.run(["docker", "inspect", name], capture_output=True, check=True).stdout
        return dict(json.loads(described)[0])

    def is_well(self, service: str) -> bool:
        state = self.container(service)["State"]
        return bool(state["Running"]) and state.get("Health", {}).get("Status") == "healthy"

    def errors(self) -> list[str]:
        """Lines of the node's logs that say that something is broken."""
        lines = self.compose("logs", "--no-color").splitlines()
        return [line for line in lines if re.search(r'"level": "(error|critical)"|Traceback', line)]


def wait_for(is_reached: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Look every second. Returns the seconds that it took, raises CheckFailed when the time is up."""
    started = time.monotonic()
    while not is_reached():
        if time.monotonic() - started > timeout_s:
            raise CheckFailed(f"not within {timeout_s:g} s: {what}")
        time.sleep(_LOOK_EVERY_S)
    return time.monotonic() - started
