"""Remembers which tokens were verified, and which were refused, by their SHA-256."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.jwt.key_set import KeySet
    from gateway.auth.jwt.refusal import Reason
    from gateway.auth.jwt.verifier import VerifiedToken
    from gateway.auth.principal import Principal

_MAX_TOKENS: Final = 10_000
_MAX_REFUSED: Final = 1000
_MAX_SECONDS: Final = 300.0
_REFUSED_SECONDS: Final = 30.0
_LASTING: Final = frozenset(
    {"malformed", "bad signature", "expired", "wrong audience", "wrong issuer", "unusable claims"}
)


@dataclass(slots=True)
class KnownToken:
    """A verified token, and its principal by the access file of that generation."""

    token: VerifiedToken
    until: float
    principal: Principal | None = None
    generation: int = -1


class TokenCache:
    """A least-recently-used cache of tokens, each until it expires, and for at most `max_seconds`.

    Refused tokens are remembered for `refused_seconds`, if time cannot make them valid.
    """

    def __init__(
        self,
        *,
        max_tokens: int = _MAX_TOKENS,
        max_refused: int = _MAX_REFUSED,
        max_seconds: float = _MAX_SECONDS,
        refused_seconds: float = _REFUSED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_tokens = max_tokens
        self._max_refused = max_refused
        self._max_seconds = max_seconds
        self._refused_seconds = refused_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._known: OrderedDict[bytes, KnownToken] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, Reason]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, digest: bytes) -> KnownToken | None:
        """Return the verified token, or None if it is not known or has expired."""
        known = self._known.get(digest)
        if known is None:
            return None
        if self._clock() >= known.until:
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return known

    def add(self, digest: bytes, token: VerifiedToken) -> KnownToken:
        """Remember a verified token."""
        seconds = min(self._max_seconds, token.expires_at - self._wall_clock())
        known = self._known[digest] = KnownToken(token, self._clock() + seconds)
        if len(self._known) > self._max_tokens:
            self._known.popitem(last=False)
        return known

    def refuse(self, digest: bytes, reason: Reason) -> None:
        """Remember a refused token, unless it may become valid."""
        if reason in _LASTING:
            self._refused[digest] = self._clock() + self._refused_seconds, reason
            if len(self._refused) > self._max_refused:
                self._refused.popitem(last=False)

    def reason_to_refuse(self, digest: bytes) -> Reason | None:
        """Return why the token was refused a short time ago, or None."""
        until, reason = self._refused.get(digest, (0.0, None))
        return reason if self._clock() < until else None

    def keep_keys(self, keys: KeySet | None) -> None:
        """Forget the tokens of all other keys, and those that were refused by the keys of before."""
        accepted = frozenset(keys.keys) if keys is not None else frozenset()
        for digest in [digest for digest, known in self._known.items() if known.token.key not in accepted]:
            del self._known[digest]
        self._refused.clear()
