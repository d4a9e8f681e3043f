"""More processes that receive on the port of the first: one interpreter keeps hardly more than one core busy.

If one of them ends, the role ends, and is started again whole: then nobody else works on what the dead one had claimed.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Event

from dicom_node import logs
from dicom_node.errors import NodeError, Permanent
from dicom_node.forks import LifeLine, fork

_LAST_WAIT_S = 15.0  # for all of them, when the first has ended; it has 35 for itself and these

_log = logs.get("siblings")


@contextmanager
def siblings(count: int, receive: Callable[[int, Event], None], stop: Event) -> Iterator[Callable[[], None]]:
    """So many, until the event is set, or the end of the context. Gives what raises Permanent when one has ended.

    receive: called in each, with its number, from 1 on; returns when an event of its own is set.
    """
    life_line = LifeLine()
    works = {f"dicom-node scp {number}": partial(_work, receive, number) for number in range(1, count + 1)}
    processes: list[BaseProcess] = []
    try:
        for name, work in works.items():
            # Who is orphaned holds the port of who is started next.
            processes.append(fork(name, life_line, work, orphaned=lambda _: os._exit(1)))
        threading.Thread(target=_tell_to_stop, args=(processes, stop), daemon=True).start()
        yield partial(_require_alive, processes)
    finally:
        _end(processes)
        life_line.close()


def _work(receive: Callable[[int, Event], None], number: int, stop: Event) -> int:
    try:
        receive(number, stop)
    except NodeError as error:
        _log.critical("process_cannot_receive", pid=os.getpid(), reason=str(error))
        return 1
    return 0


def _require_alive(processes: list[BaseProcess]) -> None:
    for process in processes:
        if process.exitcode is not None:
            raise Permanent(f"{process.name} has ended ({process.exitcode}): all that receive are started again")


def _tell_to_stop(processes: list[BaseProcess], stop: Event) -> None:
    stop.wait()
    for process in processes:
        process.terminate()


def _end(processes: list[BaseProcess]) -> None:
    deadline = time.monotonic() + _LAST_WAIT_S
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()  # harmless where it has ended
        process.join()
