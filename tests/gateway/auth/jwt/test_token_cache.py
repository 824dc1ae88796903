"""Proves how long tokens are remembered, and how many."""

from __future__ import annotations

import json

from gateway.auth.jwt.key_set import KeySet, parse_key_set
from gateway.auth.jwt.token_cache import TokenCache
from gateway.auth.jwt.verifier import VerifiedToken
from gateway.settings.jwt import ALGORITHMS
from tests.support.issuer import ec_key, jwk
from tests.support.manual_clock import ManualClock


def key_set(*names: str) -> KeySet:
    """Return keys with these names."""
    document = {"keys": [jwk(ec_key(name), name) for name in names]}
    return parse_key_set(json.dumps(document).encode(), ALGORITHMS)


KEYS = key_set("a", "b")


def verified(*, expires_at: float = 1e9, key: int = 0) -> VerifiedToken:
    """Return a token that was verified by a key."""
    return VerifiedToken("ann", (), expires_at, KEYS.keys[key])


def make(clock: ManualClock, **limits: int) -> TokenCache:
    """Return a cache whose calendar starts at 1 000 000 when the clock says 1000."""
    return TokenCache(clock=clock, wall_clock=lambda: clock() + 999_000, **limits)


def test_a_token_is_known_for_five_minutes() -> None:
    """However often it is used."""
    clock = ManualClock()
    tokens = make(clock)
    known = tokens.add(b"1", verified())
    clock.advance(299)
    assert tokens.get(b"1") is known
    clock.advance(1)
    assert tokens.get(b"1") is None
    assert len(tokens) == 0


def test_a_token_is_known_until_it_expires() -> None:
    """If that is sooner."""
    clock = ManualClock()
    tokens = make(clock)
    tokens.add(b"1", verified(expires_at=1_000_010))
    clock.advance(9)
    assert tokens.get(b"1") is not None
    clock.advance(1)
    assert tokens.get(b"1") is None


def test_the_least_recently_used_token_makes_room() -> None:
    """A flood of good tokens takes no more memory, and leaves those in use."""
    tokens = make(ManualClock(), max_tokens=3)
    for name in (b"1", b"2", b"3"):
        tokens.add(name, verified())
    tokens.get(b"1")
    tokens.add(b"4", verified())
    assert [tokens.get(name) is not None for name in (b"1", b"2", b"3", b"4")] == [True, False, True, True]


def test_refused_tokens_are_remembered_for_a_while() -> None:
    """But not those that time or a new key can make valid; no more than the limit says."""
    clock = ManualClock()
    tokens = make(clock, max_refused=2)
    for reason in ("not yet valid", "unknown key"):
        tokens.refuse(b"0", reason)
        assert tokens.reason_to_refuse(b"0") is None
    for name in (b"1", b"2", b"3"):
        tokens.refuse(name, "bad signature")
    assert [tokens.reason_to_refuse(name) for name in (b"1", b"2")] == [None, "bad signature"]
    clock.advance(30)
    assert tokens.reason_to_refuse(b"2") is None


def test_tokens_of_removed_keys_are_forgotten() -> None:
    """Those of the others stay, unless no keys are known any more."""
    tokens = make(ManualClock())
    tokens.add(b"1", verified(key=0))
    tokens.add(b"2", verified(key=1))
    tokens.refuse(b"3", "bad signature")
    tokens.keep_keys(key_set("b", "c"))
    assert [tokens.get(name) is not None for name in (b"1", b"2")] == [False, True]
    assert tokens.reason_to_refuse(b"3") is None
    tokens.keep_keys(None)
    assert len(tokens) == 0
