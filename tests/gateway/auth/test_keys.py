"""Proves which keys are recognised, and that all others look alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from gateway.auth.access_file.key import new_key
from gateway.auth.access_file.parser import parse_access_file
from gateway.auth.access_file.store import AccessFileStore
from gateway.auth.credentials import Credential
from gateway.auth.errors import Unauthenticated
from gateway.auth.keys import KeyAuthenticator
from tests.support.access_files import entry

if TYPE_CHECKING:
    from types import FrameType

NOW = 1_800_000_000.0
VALID, EXPIRED, UNKNOWN = (new_key()[0] for _ in range(3))
MISTYPED = VALID[:20] + ("a" if VALID[20] != "a" else "b") + VALID[21:]
REFUSED = {
    "unknown": UNKNOWN,
    "expired": EXPIRED,
    "mistyped": MISTYPED,
    "lower case": VALID.lower(),
    "cut off": VALID[:-1],
    "longer": VALID + "0",
    "much longer": VALID + "0" * 32_000,
    "empty": "",
    "no ASCII": VALID[:-1] + "\xe9",
    "no UTF-8": VALID[:-1] + "\udcff",
    "NUL": VALID + "\x00",
    "spaces": f" {VALID}",
    "the hash": "0" * 64,
}


@pytest.fixture
def authenticator() -> KeyAuthenticator:
    """One that knows two keys, of which one has expired."""
    text = "keys:\n" + entry(VALID, "valid") + entry(EXPIRED, "old", "expires: 2020-01-01", "grants: {}")
    store = AccessFileStore(None)
    store.current = parse_access_file(text.encode(), now=NOW)
    return KeyAuthenticator(store, clock=lambda: NOW)


def refusal(authenticator: KeyAuthenticator, key: str) -> tuple[Any, ...]:
    """Return all that a client could learn from a refusal."""
    with pytest.raises(Unauthenticated) as caught:
        authenticator.recognise(Credential("key", key))
    return str(caught.value), caught.value.source, caught.value.reason, caught.value.outcome


def test_a_known_key(authenticator: KeyAuthenticator) -> None:
    """Each time the same principal."""
    found = authenticator.recognise(Credential("key", VALID))
    assert str(found) == "keys:valid"
    assert authenticator.recognise(Credential("key", VALID)) is found


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_alike(authenticator: KeyAuthenticator, name: str) -> None:
    """Nothing in the answer tells an expired key from one that never was."""
    assert refusal(authenticator, REFUSED[name]) == (
        "The API key is not valid.",
        "keys",
        "",
        "unauthenticated",
    )


def test_refusals_take_the_same_steps(authenticator: KeyAuthenticator) -> None:
    """Every refusal, of a known key too, runs the same bytecode; so time does not tell them apart."""
    steps = {name: _steps(authenticator, key) for name, key in REFUSED.items()}
    assert len({tuple(each) for each in steps.values()}) == 1, {
        name: len(each) for name, each in steps.items()
    }
    assert len(steps["unknown"]) > 20


def test_the_secret_is_in_no_representation(authenticator: KeyAuthenticator) -> None:
    """Not in that of the credential, nor of the error with its trace."""
    assert VALID not in repr(Credential("key", VALID))
    with pytest.raises(Unauthenticated) as caught:
        authenticator.recognise(Credential("key", UNKNOWN))
    assert UNKNOWN not in repr(caught.value)


def _steps(authenticator: KeyAuthenticator, key: str) -> list[tuple[str, int]]:
    """Return each step of bytecode that a recognition takes."""
    steps: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode" and "gateway" in frame.f_code.co_filename:  # not of what runs after a collection
            steps.append((frame.f_code.co_name, frame.f_lasti))
        return trace

    credential, before = Credential("key", key), sys.gettrace()
    sys.settrace(trace)
    try:
        authenticator.recognise(credential)
    except Unauthenticated:
        pass
    finally:
        sys.settrace(before)
    return steps
