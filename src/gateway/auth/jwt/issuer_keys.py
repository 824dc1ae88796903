"""The keys of an issuer as they are now: refreshed in the background, kept while the issuer is away."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.auth.errors import AuthUnavailable
from gateway.auth.jwt.jwks import KeySetUnavailable
from gateway.auth.jwt.refusal import refusal
from gateway.concurrency.singleflight import SingleFlight
from workers.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from gateway.auth.jwt.key_set import KeySet, SigningKey

_FRESH_SECONDS: Final = 300.0
_KEEP_SECONDS: Final = 24 * 3600.0
_UNKNOWN_KEY_SECONDS: Final = 30.0
_WAIT_SECONDS: Final = 2.0
_FIRST_RETRY_SECONDS: Final = 1.0
_MAX_RETRY_SECONDS: Final = 30.0
logger = logging.getLogger(__name__)


class IssuerKeys:
    """A cache of one issuer's keys.

    `run` asks `fetch` every `fresh_seconds`, whether or not there are requests, so that a removed key is
    refused after that time. While the issuer is away the last keys serve for `keep_seconds`. A token with an
    unknown key has the issuer asked at once, but at most once in `unknown_key_seconds` for all tokens.
    A request waits for the issuer for at most `wait_seconds`. `on_change` gets each new set of keys.
    """

    def __init__(
        self,
        fetch: Callable[[], Coroutine[Any, Any, KeySet]],
        *,
        on_change: Callable[[KeySet | None], None],
        fresh_seconds: float = _FRESH_SECONDS,
        keep_seconds: float = _KEEP_SECONDS,
        unknown_key_seconds: float = _UNKNOWN_KEY_SECONDS,
        wait_seconds: float = _WAIT_SECONDS,
        retry_seconds: float = _FIRST_RETRY_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetch = fetch
        self._on_change = on_change
        self._fresh_seconds = fresh_seconds
        self._keep_seconds = keep_seconds
        self._unknown_key_seconds = unknown_key_seconds
        self._wait_seconds = wait_seconds
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._flight: SingleFlight[str] = SingleFlight()
        self._keys: KeySet | None = None
        self._fetched_at = self._asked_at = float("-inf")
        self._failing: bool | None = None  # None before the first answer
        self._fetching = False
        self._skipped: tuple[str, ...] = ()

    @property
    def current(self) -> KeySet | None:
        """The keys that are accepted now, or None if the issuer has not told any."""
        return self._keys

    async def run(self) -> None:
        """Refresh the keys until cancelled."""
        backoff = Backoff(self._retry_seconds, _MAX_RETRY_SECONDS)
        while True:
            if await self.refresh():
                backoff.reset()
                await asyncio.sleep(self._fresh_seconds)
            else:
                await asyncio.sleep(min(backoff.next_delay(), self._fresh_seconds))

    async def refresh(self) -> bool:
        """Ask the issuer, once for all concurrent callers; return whether it answered."""
        self._fetching = True  # now, not when the call starts: other requests come before that
        return await self._flight.do("keys", self._refresh)

    async def find(self, kid: str | None, algorithm: str) -> SigningKey:
        """Return the key of a token; ask the issuer if its id is unknown.

        Raise Unauthenticated if the issuer has no such key, and AuthUnavailable if it cannot be asked.
        """
        if self._should_wait(kid):
            await self._wait_for_refresh()
        if self._keys is None:
            raise _unavailable()
        key = self._keys.find(kid, algorithm)
        if key is not None:
            return key
        if self._failing and kid is not None and not self._keys.has(kid):
            raise _unavailable()  # it may be a new key of the issuer
        raise refusal("unknown key")

    async def close(self) -> None:
        """End a call that runs."""
        await self._flight.close()

    def _should_wait(self, kid: str | None) -> bool:
        if self._keys is None:
            return self._fetching or self._failing is None
        return kid is not None and not self._keys.has(kid) and self._may_ask()

    def _may_ask(self) -> bool:
        if self._fetching:
            return True
        now = self._clock()
        if now - self._asked_at < self._unknown_key_seconds:
            return False
        self._asked_at = now
        return True

    async def _wait_for_refresh(self) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self.refresh()
        except TimeoutError as error:
            raise _unavailable() from error

    async def _refresh(self) -> bool:
        started = self._clock()
        try:
            keys = await self._fetch()
        except KeySetUnavailable as error:
            self._record_failure(error)
            return False
        finally:
            self._fetching = False
        self._record_success(keys, started)
        return True

    def _record_success(self, keys: KeySet, started: float) -> None:
        if self._failing:
            logger.info("The issuer's keys are available again", extra={"event": "jwt_keys_recovered"})
        self._failing, self._fetched_at = False, started
        if keys.skipped != self._skipped or (not keys.keys and self._keys != keys):
            self._log_skipped(keys)
        self._skipped = keys.skipped
        self._replace(keys)

    def _record_failure(self, error: KeySetUnavailable) -> None:
        age = self._clock() - self._fetched_at
        if not self._failing:
            logger.warning(
                "The issuer's keys cannot be fetched (%s); %s",
                error,
                "tokens are refused" if self._keys is None else "the last ones serve",
                extra={"event": "jwt_keys_unavailable"},
            )
        self._failing = True
        if self._keys is not None and age >= self._keep_seconds:
            logger.error(
                "The issuer's keys are too old, so that tokens are refused",
                extra={"event": "jwt_keys_too_old", "age_seconds": age},
            )
            self._replace(None)

    def _replace(self, keys: KeySet | None) -> None:
        if keys != self._keys:
            self._keys = keys
            self._on_change(keys)

    @staticmethod
    def _log_skipped(keys: KeySet) -> None:
        logger.warning(
            "The issuer has %d usable keys; not used: %s",
            len(keys.keys),
            "; ".join(keys.skipped) or "none",
            extra={"event": "jwt_keys_skipped", "keys": len(keys.keys), "skipped": len(keys.skipped)},
        )


def _unavailable() -> AuthUnavailable:
    return AuthUnavailable("The identity provider's keys are not known now; try again.", source="jwt")
