"""The two shell scripts that compose runs in containers."""

import os
import subprocess
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from waiting import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"


def make_secrets(folder: Path, *names: str, **variables: str) -> str:
    command = ["sh", str(DEPLOY / "make_secrets.sh"), *names]
    environment = {**os.environ, "SECRETS": str(folder), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_secrets_are_long_random_readable_and_told_to_nobody(tmp_path: Path) -> None:
    assert make_secrets(tmp_path, "one", "two") == ""
    one, two = ((tmp_path / name).read_text().strip() for name in ("one", "two"))
    assert one != two
    assert len(one) >= 32
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o444
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one", "two"]


def test_a_secret_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("the site's own")
    make_secrets(tmp_path, "one", "two")
    assert (tmp_path / "one").read_text() == "the site's own"


def test_a_start_that_was_cut_short_is_not_the_end_of_all_starts() -> None:
    """As the container's user, who may not write into a file without the right to do so, as root may."""
    user = {"user": 10001} if os.getuid() == 0 else {}
    with TemporaryDirectory() as folder:
        left = Path(folder, "one.new")
        left.touch()
        left.chmod(0o444)
        if user:
            os.chown(folder, 10001, -1)
            os.chown(left, 10001, -1)
        script, environment = (DEPLOY / "make_secrets.sh").read_text(), {**os.environ, "SECRETS": folder}
        subprocess.run(["sh", "-s", "one"], input=script, env=environment, text=True, check=True, cwd="/", **user)
        assert [each.name for each in Path(folder).iterdir()] == ["one"]
        assert len(Path(folder, "one").read_text().strip()) >= 32


def test_who_watches_gets_a_copy_of_what_is_named_and_again_when_it_changes(tmp_path: Path) -> None:
    secrets, watching = tmp_path / "secrets", tmp_path / "watching"
    secrets.mkdir()
    watching.mkdir()
    for token in ("the site's own", "its next"):
        (secrets / "token").write_text(token)
        make_secrets(secrets, "token", "other", WATCHING="token", WATCHING_SECRETS=str(watching))
        assert {each.name: each.read_text() for each in watching.iterdir()} == {"token": token}
    assert (watching / "token").stat().st_mode & 0o777 == 0o444


class Cards:
    """`deploy/take_card.sh` before a role that tells its card and then lives until it is told to end."""

    def __init__(self, folder: Path, gpus: int) -> None:
        self.folder, programs = folder, folder / "programs"
        programs.mkdir()
        (programs / "dicom-node").write_text('#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES $*"\nread -r _\n')
        (programs / "dicom-node").chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "CARDS": str(folder), "GPUS": str(gpus)}

    def start(self) -> subprocess.Popen[str]:
        command, pipe = ["sh", str(DEPLOY / "take_card.sh"), "worker"], subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_each_worker_takes_a_card_of_its_own_and_gives_it_back_when_it_dies(tmp_path: Path) -> None:
    cards = Cards(tmp_path, gpus=2)
    first, second = cards.start(), cards.start()
    try:
        assert {first_line(first), first_line(second)} == {"0 worker", "1 worker"}
        _, said = cards.start().communicate(timeout=20)
        assert "each of the 2 GPUs has its worker already" in said
        first.kill()
        first.wait()
        third = cards.start()
        assert first_line(third) in ("0 worker", "1 worker")
        third.communicate("end\n", timeout=20)
    finally:
        second.communicate("end\n", timeout=20)
        first.communicate(timeout=20)


def test_workers_that_start_at_once_never_share_a_card(tmp_path: Path) -> None:
    workers = 8
    cards, told = Cards(tmp_path, gpus=workers), []
    started = [cards.start() for _ in range(workers)]
    threads = [threading.Thread(target=lambda each=each: told.append(first_line(each))) for each in started]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(told) == workers, "every worker has a card")
    assert len(set(told)) == workers
    for process in started:
        process.communicate("end\n", timeout=20)
