"""What a log line may hold."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from dicom_node import logs

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def configured() -> Iterator[Callable[[str], Lines]]:
    """Configures the log of this process as a role does, at a level; everything is put back afterwards."""
    root, excepthook, thread_hook = logging.getLogger(), sys.excepthook, threading.excepthook
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    quiet = ("pynetdicom", "pydicom", "highdicom", "alembic", "celery", "kombu", "PIL", "torch", "transformers")
    levels = {name: logging.getLogger(name).level for name in quiet}

    def configure(level: str = "INFO") -> Lines:
        stream = io.StringIO()
        logs.configure("scp", level, stream)
        logging.getLogger("dicom_node").setLevel(logging.NOTSET)
        return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]

    yield configure
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = excepthook, thread_hook
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, each in levels.items():
        logging.getLogger(name).setLevel(each)
    logging.getLogger("dicom_node").setLevel(logging.DEBUG)
    structlog.configure(**structured)


def test_a_line_has_the_event_the_role_the_level_and_the_time(configured: Callable[..., Lines]) -> None:
    lines = configured()
    logs.get("test").info("instance_stored", study=7, bytes=12)
    line = lines()[0]
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "instance_stored", "level": "info", "role": "scp", "study": 7, "bytes": 12}


@pytest.mark.parametrize("key", ["patient_name", "patient_id", "accession_number", "uid", "text_value", "exc_info"])
def test_a_key_that_is_not_in_the_list_is_dropped_and_named(key: str, configured: Callable[..., Lines]) -> None:
    lines = configured()
    logs.get("test").bind(**{key: "CANARY^PHI"}).info("event", study=1)
    line = lines()[0]
    assert line["error"] == f"keys not in the allow-list: {key}"
    assert line["study"] == 1
    assert "CANARY" not in json.dumps(line)


def test_an_exception_is_logged_without_its_values(configured: Callable[..., Lines]) -> None:
    lines = configured()
    try:
        raise ValueError("CANARY^PHI")
    except ValueError as error:
        logs.get("test").exception("failed", trace=logs.places(error))
    assert lines()[0]["trace"].startswith("ValueError at core/test_logs.py:")
    assert "CANARY" not in json.dumps(lines())


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_the_words_of_a_library_are_not_logged(level: str, configured: Callable[..., Lines]) -> None:
    lines = configured(level)
    try:
        raise KeyError("CANARY^PHI")
    except KeyError:
        logging.getLogger("some.library").error("Patient %s", "CANARY^PHI", exc_info=True)
    line = lines()[0]
    assert (line["event"], line["library"], line["level"]) == ("library_message", "some.library", "error")
    assert line["trace"].startswith("KeyError at")
    assert "CANARY" not in json.dumps(line)


def test_the_words_of_a_library_are_logged_at_debug(configured: Callable[..., Lines]) -> None:
    lines = configured("DEBUG")
    logging.getLogger("some.library").info("spoke of %s", "something")
    assert lines()[0]["text"] == "spoke of something"


@pytest.mark.parametrize("name", ["pynetdicom", "pynetdicom.dimse", "pynetdicom.acse", "pynetdicom.events"])
def test_pynetdicom_is_silent_even_at_debug(name: str, configured: Callable[..., Lines]) -> None:
    lines = configured("DEBUG")
    logging.getLogger(name).critical("CANARY^PHI")
    assert lines() == []


def test_a_warning_is_logged_without_its_words(configured: Callable[..., Lines]) -> None:
    lines = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)  # the block put the function of before back
        warnings.warn("Invalid value CANARY^PHI", stacklevel=1)
    line = lines()[0]
    assert (line["event"], line["library"]) == ("library_message", "py.warnings")
    assert "CANARY" not in json.dumps(line)


@pytest.mark.parametrize("where", ["thread", "main"])
def test_an_uncaught_exception_is_logged_without_values(where: str, configured: Callable[..., Lines]) -> None:
    lines = configured()

    def fail() -> None:
        raise ValueError("CANARY^PHI")

    if where == "thread":
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    else:
        with pytest.raises(ValueError, match="CANARY") as caught:
            fail()
        sys.excepthook(caught.type, caught.value, caught.tb)
    line = lines()[0]
    assert (line["event"], line["level"]) == ("uncaught_exception", "critical")
    assert line["trace"].startswith("ValueError at")
    assert "CANARY" not in json.dumps(line)


def test_loggers_speak_through_the_list_whatever_comes_first(configured: Callable[..., Lines]) -> None:
    early = logs.get("early")
    lines = configured()
    early.info("event", patient_name="CANARY^PHI")
    assert "CANARY" not in json.dumps(lines())
