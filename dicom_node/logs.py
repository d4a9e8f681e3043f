"""Structured logs that cannot hold patient data: an event name and keys from an allow-list, one JSON object a line.

Libraries' own words may carry names and identifiers (pynetdicom logs data sets, pydicom warns with values), so their
text appears at DEBUG only; at other levels a line says which library spoke, at which level. Tracebacks list places, not
values.
"""

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog

ALLOWED_KEYS = frozenset(
    {
        # what structlog adds
        "event", "level", "timestamp", "role", "library", "error", "trace", "text", "reason",
        # row ids
        "study", "series", "instance", "job", "report", "delivery", "commitment", "pull",
        # states, names from the settings, codes
        "old", "new", "state", "destination", "source", "kind", "calling_ae", "address", "status", "code", "model",
        "version", "digest",
        # counts and measures
        "association", "attempt", "bytes", "count", "seconds", "tokens", "pid", "port", "exit_code", "revision",
        "due_in_s",
    }
)  # fmt: skip

EventDict = MutableMapping[str, Any]


def configure(role: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Send every log record, warning and uncaught exception of this process through the allow-list to the stream."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            _only_allowed,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(role, show_library_text=level == "DEBUG"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    _quieten_libraries()
    _capture_the_uncaught()


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module; its name says that the words are ours."""
    return structlog.stdlib.get_logger(f"dicom_node.{name}")


def places(error: BaseException) -> str:
    """A traceback without values, innermost place last. Exception texts may hold patient data."""
    frames = traceback.extract_tb(error.__traceback__)
    trail = " > ".join(f"{'/'.join(f.filename.split('/')[-2:])}:{f.lineno} {f.name}" for f in frames)
    return f"{type(error).__name__} at {trail}"


def _formatter(role: str, *, show_library_text: bool) -> logging.Formatter:
    def foreign(_: Any, __: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event["_record"]
        spoken = {"event": "library_message", "library": record.name, "level": event["level"]}
        if record.exc_info and record.exc_info[1]:
            spoken["trace"] = places(record.exc_info[1])
        if show_library_text:
            spoken["text"] = event["event"]  # not the record: structlog took its arguments away
        return {**spoken, "_record": record, "_from_structlog": False}

    def with_role(_: Any, __: str, event: EventDict) -> EventDict:
        event["role"] = role
        return event

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, foreign],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            with_role,
            structlog.processors.JSONRenderer(),
        ],
    )


def _only_allowed(_: Any, __: str, event: EventDict) -> EventDict:
    unknown = sorted(key for key in event if key not in ALLOWED_KEYS)
    for key in unknown:
        del event[key]
    if unknown:
        event["error"] = f"keys not in the allow-list: {', '.join(unknown)}"
    return event


def _quieten_libraries() -> None:
    # pynetdicom logs query identifiers and data sets by default: its records may not even be made.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    for name in ("pydicom", "highdicom", "alembic", "celery", "kombu", "PIL", "torch", "transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _capture_the_uncaught() -> None:
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    get("process").critical("uncaught_exception", trace=places(error) if error else kind.__name__)
