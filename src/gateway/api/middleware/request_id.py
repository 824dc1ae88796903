"""The id under which one request is found in the log."""

from __future__ import annotations

import re
import secrets
from itertools import count

_VALID_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class RequestIdGenerator:
    """Gives ids that are unique to a process and to a request, at the cost of a counter."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(5)
        self._counter = count(1)

    def get(self, given: str | None) -> str:
        """The client's own id where it is short and plain, else a new one."""
        if given and _VALID_ID.fullmatch(given):
            return given
        return f"{self._prefix}-{next(self._counter):x}"
