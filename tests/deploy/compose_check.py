"""docker compose for real: everything comes up, the page lets in, films become one SR and one ORU each.

With --kill each service then dies, and is killed by `docker kill`, while films come in; then all goes down and up.
Needs Docker with Compose 2.20 or newer and DCMTK's storescu. Where Playwright and Chromium are, somebody clicks through
the page, too. KEEP=1 leaves it up.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from composed_node import CheckFailed, ComposedNode, Results, wait_for

# Every service that lasts, in the order of a film's way.
SERVICES = ("scp", "redis", "db", "sweep", "worker", "relay", "orthanc", "ris", "hl7", "web")
ODD_PASSWORD = "a p@ss/word:$1"
FILMS, FILMS_UNDER_KILLS = 2, 100
SEND_EVERY_S = 10.0
SETTLE_S = 10.0  # after the last result: time for one too many, which must not come
RESULTS_S = 600.0
WELL_S = 300.0


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        node = ComposedNode(Path(folder))
        try:
            check(node, with_kills="--kill" in sys.argv)
        except CheckFailed as error:
            say(f"FAILED: {error}")
            print(node.compose("logs", "--tail", "15"))
            return 1
        finally:
            if not os.environ.get("KEEP"):
                node.compose("down", "--volumes", "--timeout", "20")
    say("passed")
    return 0


def check(node: ComposedNode, *, with_kills: bool) -> None:
    say("docker compose up")
    node.compose("build", "secrets")
    node.put_secret("dicom_node_database_password", ODD_PASSWORD)
    started = time.monotonic()
    node.compose("up", "--wait")
    print(node.compose("ps", "--format", "table {{.Service}}\t{{.Status}}\t{{.Ports}}"))
    print(f"up after {time.monotonic() - started:.0f} s")
    say("the page lets the first admin in, and again")
    node.log_in()
    node.log_in()
    clicked = use_page(node)
    say("films")
    films = node.make_films(FILMS_UNDER_KILLS if with_kills else FILMS)
    sent = films[:FILMS]
    for film in sent:
        require(node.send(film), "the film is taken")
    expect_results(node, clicked + len(sent))
    require(not node.errors(), "no errors in the logs")
    if with_kills:
        kill_each(node, films[FILMS:-1], already=clicked + len(sent))
        come_back(node, films[-1])


def use_page(node: ComposedNode) -> int:
    """Returns how many studies somebody has sent from the page."""
    if find_spec("playwright") is None or shutil.which("chromium") is None:
        say("no Playwright or no Chromium: nobody clicks")
        return 0
    from composed_browser import click_through

    say("a browser logs in, tests each destination and sends a test study")
    click_through(node.url)
    return 1


def kill_each(node: ComposedNode, films: list[Path], *, already: int) -> None:
    with trickle(node, films) as sent:
        for service in SERVICES:
            say(f"{service} dies")
            die(node, service)
            say(f"docker kill {service}")
            kill(node, service)
    print(f"{len(sent)} films came in meanwhile")
    expect_results(node, already + len(sent))


def die(node: ComposedNode, service: str) -> None:
    """As by the kernel for lack of memory, or by a crash: the process ends, and Docker starts it again."""
    before = node.container(service)["RestartCount"]
    node.compose("exec", "--detach", service, "sh", "-c", "kill -9 -1")  # the shell may die with what it kills
    took_s = wait_for(lambda: node.container(service)["RestartCount"] > before, WELL_S, f"{service} is started again")
    took_s += wait_for(lambda: node.is_well(service), WELL_S, f"{service} is well")
    print(f"well by itself after {took_s:.0f} s")


def kill(node: ComposedNode, service: str) -> None:
    """A person's will: Docker lets it be, until `docker compose up -d`."""
    node.compose("kill", service)
    time.sleep(SETTLE_S)
    is_back = node.container(service)["State"]["Running"]
    print("Docker started it again" if is_back else "Docker let it be")
    node.compose("up", "--detach", "--no-recreate")
    took_s = wait_for(lambda: node.is_well(service), WELL_S, f"{service} is well")
    print(f"well {took_s:.0f} s after docker compose up -d")


def come_back(node: ComposedNode, film: Path) -> None:
    say("docker compose down, and up")
    before = node.results()
    node.compose("down")
    node.compose("up", "--wait")
    node.log_in()
    require(node.results() == before, f"what was there is there: {before}")
    require(node.send(film), "the film is taken")
    expect_results(node, before.orus + 1)


@contextmanager
def trickle(node: ComposedNode, films: list[Path]) -> Iterator[list[Path]]:
    """Send one film after the other, each until it is taken; yields those that were."""
    sent: list[Path] = []
    stop = threading.Event()

    def send() -> None:
        for film in films:
            while not node.send(film):
                stop.wait(1.0)
            sent.append(film)
            if stop.wait(SEND_EVERY_S):
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def expect_results(node: ComposedNode, count: int) -> None:
    """Exactly one SR and one ORU for each of so many studies."""
    expected = Results(count, count, count)
    took_s = wait_for(lambda: node.results() >= expected, RESULTS_S, f"{count} SR and {count} ORU")
    time.sleep(SETTLE_S)
    require(node.results() == expected, f"{expected}, got {node.results()}")
    print(f"{count} SR and {count} ORU, the last {took_s:.0f} s after the last film")


def require(is_so: bool, what: str) -> None:
    if not is_so:
        raise CheckFailed(what)


def say(words: str) -> None:
    print(f"\n== {time.strftime('%H:%M:%S')} {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
