"""Proves how failures are counted: by whom, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.auth.errors import LimitExceeded
from gateway.auth.mlflow import Bounds
from gateway.auth.mlflow.failures import FailureLimiter, address_key, user_key
from gateway.mlflow_client import NotAuthenticated

if TYPE_CHECKING:
    from tests.support.manual_clock import ManualClock

BOUNDS = Bounds(failures=3, failure_window=60)


def fail(limiter: FailureLimiter, *keys: str) -> None:
    with pytest.raises(NotAuthenticated), limiter.attempt(keys):
        raise NotAuthenticated("no")


def test_the_window_slides(clock: ManualClock) -> None:
    """Each failure counts for a minute of its own, and the wait ends with the oldest."""
    limiter = FailureLimiter(BOUNDS, clock=clock)
    for _ in range(3):
        fail(limiter, "a")
        clock.advance(10)
    with pytest.raises(LimitExceeded) as caught:
        limiter.check(["a"])
    assert caught.value.wait_seconds == 30
    clock.advance(30)
    fail(limiter, "a")
    with pytest.raises(LimitExceeded):
        limiter.check(["a"])


def test_one_of_several_keys_is_enough(clock: ManualClock) -> None:
    """An address that has no attempt left has none for another name either."""
    limiter = FailureLimiter(BOUNDS, clock=clock)
    for name in ("x", "y", "z"):
        fail(limiter, "address", name)
    limiter.check(["x"])
    with pytest.raises(LimitExceeded):
        limiter.check(["new name", "address"])


def test_running_attempts_count(clock: ManualClock) -> None:
    """Those that run at the same time cannot be more than are left; those that succeed cost nothing."""
    limiter = FailureLimiter(BOUNDS, clock=clock)
    three = limiter.attempt(["a"]), limiter.attempt(["a"]), limiter.attempt(["a"])
    with three[0], three[1], three[2], pytest.raises(LimitExceeded):
        limiter.check(["a"])
    limiter.check(["a"])


def test_other_errors_are_no_failures(clock: ManualClock) -> None:
    """An outage is not the caller's fault."""
    limiter = FailureLimiter(BOUNDS, clock=clock)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), limiter.attempt(["a"]):
            raise ZeroDivisionError
    limiter.check(["a"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("unix:", "", True),
    ],
)
def test_addresses_of_one_customer_are_one(one: str, other: str, same: bool) -> None:
    """An IPv6 customer has 2^64 addresses; an IPv4 address may be written as an IPv6 address.

    What is no address is one for all.
    """
    assert (address_key(one) == address_key(other)) is same


def test_names_and_addresses_are_apart() -> None:
    """A user named like an address does not use up its attempts."""
    assert user_key("192.0.2.1") != address_key("192.0.2.1")
    assert user_key("Ann") == user_key("ann")
