"""Tells whether MLflow rejects a request for a client's words, which is not a fault of MLflow's."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.mlflow_client import RequestRejected

_MAX_OFFSET: Final = 2**63 - 1


def is_storable(text: str) -> bool:
    """Return whether a database can hold `text`: no NUL, on which some fail, and no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def is_possible_token(token: str) -> bool:
    """Return False for tokens that MLflow cannot have issued, and answers with a server error.

    MLflow's own stores issue `{"offset": N}` in base64. Any other form may be that of another store.
    """
    try:
        document = json.loads(base64.b64decode(token.encode("ascii")))
    except (binascii.Error, json.JSONDecodeError, UnicodeDecodeError):
        return True
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    offset = document.get("offset", 1)
    return isinstance(offset, int) and abs(offset) <= _MAX_OFFSET


async def are_at_fault(error: RequestRejected, plain_call: Callable[[], Awaitable[object]]) -> bool:
    """Return whether MLflow rejected the client's words: `plain_call`, which has none, succeeds."""
    if not error.invalid:
        return False
    try:
        await plain_call()
    except GatewayError:
        return False
    return True
