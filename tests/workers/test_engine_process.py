"""The supervised process, with engines that crash, hang and fail on demand. No torch in here."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.errors import (
    BadCheckpoint,
    EngineAway,
    EngineLost,
    InvalidOutput,
    NodeError,
    Permanent,
    UndecodablePixels,
)
from workers.engine_child import PROCESS_NAME
from workers.engine_process import EngineProcess
from workers.llavarad.findings import EngineIdentity, Findings, Writer

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
MODEL_DIR = Path("/model")
ERRORS: dict[str, Exception] = {
    "invalid output": InvalidOutput("the model wrote nothing"),
    "undecodable": UndecodablePixels("pixels are a strip"),
    "out of memory": EngineLost("the model stopped with OutOfMemoryError"),
    "bug": ValueError("CANARY^PHI cannot be read"),
}


class ObedientEngine:
    """Does what the indication says."""

    def __init__(self, model_dir: Path, max_new_tokens: int) -> None:
        self.identity = EngineIdentity("obedient", "1", f"{model_dir} {max_new_tokens}", is_synthetic=True)

    def write_findings(self, pixels: NDArray[np.uint8], indication: str | None) -> Findings:
        order, _, argument = (indication or "").partition(" ")
        if order == "exit":
            os._exit(int(argument))
        if order == "hang":
            time.sleep(600)
        if order == "rest":
            time.sleep(float(argument))
        if order == "announce":
            Path(argument).touch()
            time.sleep(0.5)
        if order == "raise":
            raise ERRORS[argument]
        return Findings(f"{indication} in {os.getpid()}", int(pixels.sum()), 0.0, 0.0)


def load_obedient(model_dir: Path, max_new_tokens: int) -> Writer:
    return ObedientEngine(model_dir, max_new_tokens)


def load_nothing(model_dir: Path, max_new_tokens: int) -> Writer:
    raise BadCheckpoint(f"no model folder at {model_dir}")


def load_and_crash(model_dir: Path, max_new_tokens: int) -> Writer:
    os._exit(7)


def load_with_a_bug(model_dir: Path, max_new_tokens: int) -> Writer:
    raise KeyError("CANARY^PHI")


def load_once(model_dir: Path, max_new_tokens: int) -> Writer:
    """Then the card is broken, or the disk away."""
    loaded = Path(os.environ[LOADED])
    if loaded.exists():
        raise OSError("CANARY^PHI")
    loaded.touch()
    return ObedientEngine(model_dir, max_new_tokens)


def load_forever(model_dir: Path, max_new_tokens: int) -> Writer:
    time.sleep(600)
    raise AssertionError


def load_another_each_time(model_dir: Path, max_new_tokens: int) -> Writer:
    return ObedientEngine(model_dir, os.getpid())


Make = Callable[..., EngineProcess]
LOADED = "TEST_ENGINE_WAS_LOADED"  # a variable: the path of a file that says so


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[EngineProcess] = []

    def make_one(
        factory: Callable[[Path, int], Writer] = load_obedient, *, timeout_s: float = 60, load_timeout_s: float = 60
    ) -> EngineProcess:
        made.append(
            EngineProcess(
                MODEL_DIR, max_new_tokens=9, timeout_s=timeout_s, load_timeout_s=load_timeout_s, factory=factory
            )
        )
        return made[-1]

    yield make_one
    for each in made:
        each.close()


def pid(findings: Findings) -> int:
    return int(findings.text.split()[-1])


def wait_until(is_true: Callable[[], bool], *, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_findings_come_from_another_process(make: Make) -> None:
    process: Writer = make()

    findings = process.write_findings(PIXELS, "cough")

    assert findings.text.startswith("cough in ")
    assert pid(findings) != os.getpid()
    assert findings.token_count == PIXELS.sum()


def test_identity_is_that_of_the_engine(make: Make) -> None:
    process = make()
    with pytest.raises(EngineLost, match="not started"):
        _ = process.identity
    process.start()
    assert process.identity == EngineIdentity("obedient", "1", "/model 9", is_synthetic=True)


def test_start_twice_keeps_the_process(make: Make) -> None:
    process = make()
    process.start()
    first = pid(process.write_findings(PIXELS, None))
    process.start()
    assert pid(process.write_findings(PIXELS, None)) == first


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        (load_nothing, BadCheckpoint, "^no model folder at /model$"),
        (load_and_crash, EngineLost, "ended with exit code 7"),
        (load_with_a_bug, Permanent, r"^the model failed with KeyError at test_engine_process\.py:\d+$"),
    ],
)
def test_failed_load_is_told_by_start(
    make: Make, factory: Callable[[Path, int], Writer], error: type[NodeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(factory).start()


def test_load_that_never_ends_is_stopped(make: Make) -> None:
    with pytest.raises(EngineLost, match=r"took longer than 0\.5 s"):
        make(load_forever, load_timeout_s=0.5).start()


@pytest.mark.kill
def test_crash_is_told_and_the_next_call_has_a_new_process(make: Make) -> None:
    process = make()
    before = pid(process.write_findings(PIXELS, None))

    with pytest.raises(EngineLost, match="ended with exit code 3"):
        process.write_findings(PIXELS, "exit 3")

    assert pid(process.write_findings(PIXELS, None)) != before


@pytest.mark.kill
def test_process_killed_while_idle_is_replaced_without_an_error(make: Make) -> None:
    process = make()
    before = pid(process.write_findings(PIXELS, None))
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: process._child is not None and not process._child.is_alive())

    assert pid(process.write_findings(PIXELS, None)) != before


@pytest.mark.kill
def test_hanging_draft_is_stopped_and_the_next_call_works(make: Make) -> None:
    process = make(timeout_s=1)
    before = pid(process.write_findings(PIXELS, None))

    with pytest.raises(EngineLost, match="took longer than 1 s"):
        process.write_findings(PIXELS, "hang")

    assert not is_running(before)
    assert pid(process.write_findings(PIXELS, None)) != before


@pytest.mark.kill
def test_stopped_process_does_not_block_the_sender_of_a_large_image(make: Make) -> None:
    process = make(timeout_s=1)
    os.kill(pid(process.write_findings(PIXELS, None)), signal.SIGSTOP)

    with pytest.raises(EngineLost, match="took longer than 1 s"):
        process.write_findings(np.zeros((3000, 3000), dtype=np.uint8), None)


@pytest.mark.parametrize("name", ["invalid output", "undecodable"])
def test_error_of_the_engine_comes_back_as_it_is_and_the_process_stays(make: Make, name: str) -> None:
    process = make()
    before = pid(process.write_findings(PIXELS, None))

    with pytest.raises(type(ERRORS[name]), match=f"^{ERRORS[name]}$"):
        process.write_findings(PIXELS, f"raise {name}")

    assert pid(process.write_findings(PIXELS, None)) == before


def test_unknown_error_is_permanent_and_quotes_nothing(make: Make) -> None:
    with pytest.raises(Permanent, match=r"^the model failed with ValueError at test_engine_process\.py:\d+$"):
        make().write_findings(PIXELS, "raise bug")


@pytest.mark.kill
def test_engine_that_calls_itself_lost_is_replaced(make: Make) -> None:
    process = make()
    before = pid(process.write_findings(PIXELS, None))

    with pytest.raises(EngineLost, match="OutOfMemoryError"):
        process.write_findings(PIXELS, "raise out of memory")

    assert not is_running(before)
    assert pid(process.write_findings(PIXELS, None)) != before


def test_eight_threads_get_their_own_answers_from_one_process(make: Make) -> None:
    process = make()

    def work(number: int) -> Findings:
        return process.write_findings(np.full((50, 40), number, dtype=np.uint8), f"study {number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(64)))

    assert [answer.token_count for answer in answers] == [2_000 * number for number in range(64)]
    assert [answer.text.partition(" in ")[0] for answer in answers] == [f"study {number}" for number in range(64)]
    assert len({pid(answer) for answer in answers}) == 1


@pytest.mark.kill
def test_a_loss_is_that_of_the_call_in_work_and_those_that_wait_go_on(make: Make) -> None:
    process = make()
    before = pid(process.write_findings(PIXELS, None))
    with ThreadPoolExecutor(8) as pool:
        poison = pool.submit(process.write_findings, PIXELS, "hang")
        wait_until(lambda: len(process._line._waiting) == 1)
        calls: list[Future[Findings]] = [pool.submit(process.write_findings, PIXELS, None) for _ in range(7)]
        wait_until(lambda: len(process._line._waiting) == 8)
        os.kill(before, signal.SIGKILL)
        assert isinstance(poison.exception(timeout=20), EngineLost)
        after = {pid(call.result(timeout=20)) for call in calls}

    assert len(after) == 1
    assert before not in after


def test_calls_are_served_in_the_order_of_their_coming(make: Make) -> None:
    process = make()
    process.start()
    served: list[int] = []

    def work(number: int) -> None:
        process.write_findings(PIXELS, "rest 0.05")
        served.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        # Each stands in line, or was served, before the next comes.
        wait_until(lambda number=number: len(process._line._waiting) + len(served) >= number)
    for thread in threads:
        thread.join()

    assert served == sorted(served)


def test_close_ends_the_process_the_call_in_work_and_later_calls(make: Make) -> None:
    process = make()
    child = pid(process.write_findings(PIXELS, None))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(process.write_findings, PIXELS, "hang")
        wait_until(lambda: len(process._line._waiting) == 1)
        process.close()
        assert isinstance(call.exception(timeout=20), EngineLost)

    assert not is_running(child)
    with pytest.raises(EngineLost, match="was closed"):
        process.write_findings(PIXELS, None)
    process.close()


@pytest.mark.kill
def test_another_model_after_a_crash_is_refused(make: Make) -> None:
    process = make(load_another_each_time)
    with pytest.raises(EngineLost):
        process.write_findings(PIXELS, "exit 1")
    for _ in range(2):
        with pytest.raises(BadCheckpoint, match="changed while it was in use"):
            process.write_findings(PIXELS, None)


@pytest.mark.kill
def test_a_model_that_cannot_be_loaded_after_a_crash_is_no_fault_of_the_call(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOADED, str(tmp_path / "loaded"))
    process = make(load_once)
    with pytest.raises(EngineLost, match="ended with exit code 1"):
        process.write_findings(PIXELS, "exit 1")
    with pytest.raises(EngineAway, match=r"^the model cannot be loaded: the model failed with OSError at test_engine"):
        process.write_findings(PIXELS, None)


def test_child_ignores_the_interrupt_of_the_terminal(make: Make) -> None:
    process = make()
    before = pid(process.write_findings(PIXELS, None))
    os.kill(before, signal.SIGINT)
    assert pid(process.write_findings(PIXELS, None)) == before


def test_busy_child_answers_before_it_obeys_a_termination(make: Make, tmp_path: Path) -> None:
    process = make()
    child = pid(process.write_findings(PIXELS, None))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(process.write_findings, PIXELS, f"announce {tmp_path / 'begun'}")
        wait_until((tmp_path / "begun").exists)
        os.kill(child, signal.SIGTERM)
        assert f" in {child}" in call.result(timeout=20).text
    wait_until(lambda: not is_running(child))


def test_idle_child_obeys_a_termination_at_once(make: Make) -> None:
    process = make()
    child = pid(process.write_findings(PIXELS, None))
    os.kill(child, signal.SIGTERM)
    wait_until(lambda: not is_running(child))


@pytest.mark.skipif(sys.platform != "linux", reason="names of processes are read from /proc")
def test_process_has_a_name_that_operators_can_find(make: Make) -> None:
    child = pid(make().write_findings(PIXELS, None))
    assert Path(f"/proc/{child}/comm").read_text().strip() == PROCESS_NAME


PARENT = """
import sys, threading
from pathlib import Path
sys.path[:0] = {path!r}
from test_engine_process import PIXELS, load_obedient, pid
from workers.engine_process import EngineProcess
if __name__ == "__main__":
    process = EngineProcess(Path("/model"), max_new_tokens=9, timeout_s=600, factory=load_obedient)
    print(pid(process.write_findings(PIXELS, None)), flush=True)
    process.write_findings(PIXELS, {order!r})
    threading.Event().wait()
"""


@pytest.mark.kill
@pytest.mark.parametrize("order", ["nothing", "hang"], ids=["idle", "busy"])
def test_child_goes_when_its_parent_is_killed(tmp_path: Path, order: str) -> None:
    script = tmp_path / "parent.py"
    path = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    script.write_text(PARENT.format(path=path, order=order))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()

    wait_until(lambda: not is_running(child))


def test_parent_does_not_load_torch() -> None:
    code = "import workers.engine_process, sys; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
