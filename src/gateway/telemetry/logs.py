"""The log's configuration and formats: text on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TextIO

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")

_OWN_LOGGERS = ("gateway", "workers", "model")
_STANDARD_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(
    level: str,
    log_format: Literal["auto", "json", "text"],
    *,
    stream: TextIO | None = None,
    process: int | None = None,
) -> None:
    """Send every log record of the process to `stream`, or to standard error if that is None.

    `level` is for the gateway's own records; other packages log from `warning` on. `process` is the number
    of this process if several write to the same stream.
    """
    stream = stream or sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(process) if as_json else TextFormatter(process))
    own_level = logging.getLevelNamesMapping()[level.upper()]
    handler.addFilter(lambda record: record.levelno >= own_level or not _has_own_level(record))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _OWN_LOGGERS:
        # The ring of events needs all from `info` on; the handler drops what is not for `stream`.
        logging.getLogger(name).setLevel(min(own_level, logging.INFO))


def _has_own_level(record: logging.LogRecord) -> bool:
    """Whether the record's logger is the gateway's own and has no level for itself."""
    name = record.name
    inherits = name in _OWN_LOGGERS or logging.getLogger(name).level == logging.NOTSET
    return inherits and name.partition(".")[0] in _OWN_LOGGERS


class _ExtrasFormatter(logging.Formatter):
    def __init__(self, process: int | None = None) -> None:
        """`process` is added to each record if it is not None."""
        super().__init__()
        self._process_number = process

    def extras(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        """Yield the fields beside the message as pairs of name and value."""
        if self._process_number is not None:
            yield "process", self._process_number
        if "request_id" not in record.__dict__ and (current := request_id.get()):
            yield "request_id", current
        for name, value in record.__dict__.items():
            if name not in _STANDARD_ATTRIBUTES:
                yield name, value


class JsonFormatter(_ExtrasFormatter):
    """A formatter that writes one JSON object a line: time, level, logger, message, extras, and any trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **dict(self.extras(record)),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(_ExtrasFormatter):
    """A formatter that writes time, level, logger, message and extras as text; a trace follows below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, with its trace below."""
        extras = "".join(f" {name}={value}" for name, value in self.extras(record))
        text = _escape_unprintable(record.getMessage() + extras)
        line = f"{_timestamp(record)} {record.levelname.lower():7} {record.name}: {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _escape_unprintable(text: str) -> str:
    """Return `text` with control characters escaped, so that no name or message can forge a line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _timestamp(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
