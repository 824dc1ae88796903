"""A load report as JSON of a bounded size."""

from __future__ import annotations

from typing import Final

import orjson

from workers.protocol.bounds import MAX_LOAD_REPORT_BYTES, ProtocolError, check_size
from workers.protocol.failure_body import to_text
from workers.protocol.messages import LoadReport, RowBatching

_MAX_REASON_CHARS: Final = 600  # as JSON, each may take six bytes


def encode(report: LoadReport) -> bytes:
    """Return a load report as JSON, without its seconds. Its reason is shortened."""
    enabled, reason = report.row_batching
    return orjson.dumps([report.preloaded, report.streamable, enabled, to_text(reason, _MAX_REASON_CHARS)])


def decode(body: bytes, seconds: float) -> LoadReport:
    """Return the load report of a body. Raises ProtocolError, ValueError or TypeError if it is not valid."""
    check_size("a load report", len(body), MAX_LOAD_REPORT_BYTES)
    *flags, reason = orjson.loads(body)
    if not all(isinstance(flag, bool) for flag in flags) or not isinstance(reason, str):
        raise ProtocolError("a load report that is not valid")
    preloaded, streamable, enabled = flags
    return LoadReport(seconds, preloaded, streamable, RowBatching(enabled, reason))
