"""The id under which the log has one request."""

from __future__ import annotations

import re
import secrets
from itertools import count

_VALID_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class RequestIdGenerator:
    """A generator of ids that are unique to a process and a request, made by counting up."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(5)
        self._counter = count(1)

    def get(self, client_id: str | None) -> str:
        """Return the client's own id if it is valid, else a new one."""
        if client_id and _VALID_ID.fullmatch(client_id):
            return client_id
        return f"{self._prefix}-{next(self._counter):x}"
