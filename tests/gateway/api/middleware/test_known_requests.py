"""Proves that a remembered request is let in as long as it would be anyway, and that keys are forgotten."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.api.middleware import known_requests
from gateway.api.middleware.known_requests import MAX_REQUESTS, MAX_URL_LENGTH, KnownRequests
from gateway.auth.grants import NO_RIGHTS
from gateway.auth.principal import Principal
from tests.support.waiting import until

if TYPE_CHECKING:
    from aiohttp import web

KEY = ("Authorization", "Bearer gwk_a")
URL = "/model/wine/1/invocation"


def asked(*headers: tuple[str, str], method: str = "POST", url: str = URL) -> web.Request:
    """Return a request."""
    return make_mocked_request(method, url, CIMultiDict(headers))


def principal(name: str = "a", *, expires_at: float = math.inf) -> Principal:
    """Return the caller of a key."""
    return Principal(name, "keys", NO_RIGHTS, expires_at=expires_at)


class Known(KnownRequests):
    """A memory with a clock and a version that a test sets."""

    def __init__(self) -> None:
        self.file: object = "first"
        self.now = 100.0
        super().__init__(lambda: self.file, clock=lambda: self.now)


async def test_the_same_again() -> None:
    """The same key for the same URL by the same method is known."""
    known, caller = Known(), principal()
    assert known.find(asked(KEY)) is None
    known.add(asked(KEY), caller)
    assert known.find(asked(KEY)) is caller


@pytest.mark.parametrize(
    "other",
    [
        asked(),
        asked(("Authorization", "Bearer gwk_b")),
        asked(("Authorization", "bearer gwk_a")),
        asked(KEY, url="/model/wine/2/invocation"),
        asked(KEY, url=URL + "?"),
        asked(KEY, url="/model/Wine/1/invocation"),
        asked(KEY, method="GET"),
        asked(KEY, KEY),
        asked(KEY, ("Authorization", "Bearer gwk_b")),
        asked(("Authorization", "Bearer gwk_b"), KEY),
        asked(KEY, ("X-API-Key", "gwk_a")),
        asked(KEY, ("x-api-key", "")),
        asked(("X-API-Key", "gwk_a")),
    ],
)
async def test_anything_else_is_found_out(other: web.Request) -> None:
    """Every difference that may matter, and some that do not, lead the long way."""
    known = Known()
    known.add(asked(KEY), principal())
    assert known.find(other) is None
    known.add(other, principal("other"))
    assert known.find(asked(KEY)) != principal("other")


async def test_expiry() -> None:
    """A key is known until the moment that it expires at."""
    known = Known()
    known.add(asked(KEY), caller := principal(expires_at=200.0))
    known.now = 199.999
    assert known.find(asked(KEY)) is caller
    known.now = 200.0
    assert known.find(asked(KEY)) is None


async def test_another_file() -> None:
    """Whatever was known by a file is not known by the next, nor if an equal one comes back."""
    known = Known()
    first, caller = known.file, principal()
    known.add(asked(KEY), caller)
    known.file = "second"
    assert known.find(asked(KEY)) is None
    known.add(asked(KEY, url="/model"), caller)
    known.file = first
    assert known.find(asked(KEY)) is None


@pytest.mark.parametrize("source", ["none", "jwt", "mtls", "mlflow"])
async def test_other_callers(source: str) -> None:
    """What other callers may do depends on more than the file."""
    known = Known()
    known.add(asked(KEY), Principal("a", source, NO_RIGHTS))  # type: ignore[arg-type]
    assert known.find(asked(KEY)) is None


async def test_it_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while there is no key in memory, without a further request."""
    monkeypatch.setattr(known_requests, "KEPT_SECONDS", 0.01)
    known = Known()
    known.add(asked(KEY), principal())
    await until(lambda: not known._known)
    known.add(asked(KEY), principal())
    await until(lambda: not known._known)


async def test_it_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many URLs nor long ones fill the memory."""
    assert MAX_REQUESTS * MAX_URL_LENGTH <= 64 * 2**20
    monkeypatch.setattr(known_requests, "MAX_REQUESTS", 200)
    known = Known()
    for number in itertools.count():
        known.add(asked(KEY, url=f"/model/{number}"), principal())
        if number > 500:
            break
    assert len(known._known) <= 200
    long = asked(KEY, url="/model/" + "a" * MAX_URL_LENGTH)
    known.add(long, principal())
    assert known.find(long) is None
