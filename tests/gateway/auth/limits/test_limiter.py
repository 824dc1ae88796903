"""Proves which requests are admitted, what a refusal says, and whose limit counts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from gateway.auth.errors import LimitExceeded
from gateway.auth.limits.gcra import NANOSECONDS
from gateway.auth.limits.limiter import UNLIMITED, RequestLimiter
from gateway.auth.limits.refusals import RATE_LIMITED
from gateway.auth.limits.shared_rates import SharedRates
from gateway.auth.principal import ANYONE, Principal
from gateway.domain.limits import Limits, parse_rate
from gateway.settings import CurrentSettings, load
from tests.support.principals import principal
from workers.metrics import Counters

DAY = 86400 * NANOSECONDS
POLICY = re.compile(r'"default";q=[1-9][0-9]*;w=[1-9][0-9]*')
STATE = re.compile(r'"default";r=[0-9]+;t=[0-9]+')


class LimiterSetup:
    """A limiter with settings that can change, and a clock that a test sets."""

    def __init__(self, rates: SharedRates | None = None, **values: str) -> None:
        self.settings = CurrentSettings(load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", **values}))
        self.counters = Counters()
        self.now = DAY
        self.limiter = RequestLimiter(
            self.settings, counters=self.counters, rates=rates, clock=lambda: self.now
        )

    def admitted(self, caller: Principal, tries: int, address: str = "192.0.2.1") -> int:
        """Return how many of `tries` requests are admitted; each ends at once."""
        done = 0
        for _ in range(tries):
            try:
                self.limiter.enter(caller, address).release()
            except LimitExceeded:
                continue
            done += 1
        return done


def test_without_limits_nothing_is_counted() -> None:
    """Where callers are not asked and no limit is set, a request costs one look."""
    setup = LimiterSetup()
    assert setup.limiter.enter(ANYONE, "192.0.2.1") is UNLIMITED
    assert UNLIMITED.headers == {}
    UNLIMITED.release()


def test_the_rate_of_a_key() -> None:
    """The burst at once, then what time gives back; each response says what is left."""
    setup, key = LimiterSetup(), principal("a", rate="100/s")
    first = setup.limiter.enter(key, "")
    assert first.headers == {"RateLimit-Policy": '"default";q=100;w=1', "RateLimit": '"default";r=99;t=1'}
    assert setup.admitted(key, 200) == 99
    with pytest.raises(LimitExceeded) as refused:
        setup.limiter.enter(key, "")
    assert refused.value.headers == {
        "Retry-After": "1",
        "RateLimit-Policy": '"default";q=100;w=1',
        "RateLimit": '"default";r=0;t=1',
    }
    assert refused.value.limit == "rate"
    setup.now += NANOSECONDS // 2
    assert setup.admitted(key, 200) == 50


@pytest.mark.parametrize("rate", ["1/h", "7/min", "3/s", "999999999/s", "1000/h"])
@pytest.mark.parametrize("burst", [None, 1, 5, 10**9])
@pytest.mark.parametrize("shared", [False, True])
def test_a_client_that_obeys_is_admitted(rate: str, burst: int | None, *, shared: bool) -> None:
    """After `Retry-After`, and after `t` of the last response, there is room; the fields are well formed."""
    table = SharedRates() if shared else None
    setup, key = LimiterSetup(table), principal("a", rate=rate, burst=burst)
    for _ in range(20):
        try:
            admission = setup.limiter.enter(key, "")
        except LimitExceeded as refused:
            headers = refused.headers
            assert headers["RateLimit"] == f'"default";r=0;t={headers["Retry-After"]}'
        else:
            admission.release()
            headers = admission.headers
        assert POLICY.fullmatch(headers["RateLimit-Policy"])
        assert STATE.fullmatch(headers["RateLimit"])
        remaining, seconds = map(int, re.findall(r"=(\d+)", headers["RateLimit"]))
        if not remaining:
            setup.now += seconds * NANOSECONDS
            assert setup.admitted(key, 1) == 1
    if table:
        table.close()


def test_the_default_rate_and_a_keys_own() -> None:
    """A key's own rate comes with its own burst; a key may also have only a burst of its own."""
    setup = LimiterSetup(GATEWAY_RATE="1/h", GATEWAY_BURST="7")
    assert setup.admitted(principal("default"), 20) == 7
    assert setup.admitted(principal("own rate", rate="120/min"), 20) == 2
    assert setup.admitted(principal("own burst", burst=3), 20) == 3


def test_requests_in_progress() -> None:
    """The limit holds until one has ended, and one that is released twice gives one place."""
    setup, key = LimiterSetup(), principal("a", concurrent=2)
    first, second = setup.limiter.enter(key, ""), setup.limiter.enter(key, "")
    with pytest.raises(LimitExceeded, match="2 requests of this caller are in progress") as refused:
        setup.limiter.enter(key, "")
    assert (refused.value.limit, refused.value.headers) == ("concurrent", {"Retry-After": "1"})
    first.release()
    first.release()
    third = setup.limiter.enter(key, "")
    with pytest.raises(LimitExceeded):
        setup.limiter.enter(key, "")
    second.release()
    third.release()
    assert len(setup.limiter._requests) == 0


def test_one_request_in_progress_is_no_plural() -> None:
    """A limit of one is said as one."""
    setup, key = LimiterSetup(), principal("a", concurrent=1)
    setup.limiter.enter(key, "")
    with pytest.raises(LimitExceeded) as refused:
        setup.limiter.enter(key, "")
    assert str(refused.value) == "1 request of this caller is in progress, which is its limit."


@pytest.mark.parametrize(
    ("rate", "later", "wait"),
    [
        ("999999999/s", 0, "0.001"),
        ("100/s", 0, "0.01"),
        ("100/s", 1, "0.01"),
        ("100/s", 10**6 + 1, "0.009"),
        ("81/s", 0, "0.012"),
        ("1/s", NANOSECONDS // 3, "0.667"),
        ("7/min", 0, "8.57"),
        ("1/min", 0, "60"),
        ("1/h", 0, "3600"),
        ("1/h", 5 * NANOSECONDS, "3600"),
        ("1/h", 1001 * NANOSECONDS, "2600"),
    ],
)
def test_the_wait_is_said_as_people_say_it(rate: str, later: int, wait: str) -> None:
    """With three digits at most, no powers of ten, and nothing below a millisecond."""
    setup, key = LimiterSetup(), principal("a", rate=rate, burst=1)
    setup.limiter.enter(key, "").release()
    setup.now += later
    with pytest.raises(LimitExceeded, match=f"the next one is admitted in {wait} s\\.$"):
        setup.limiter.enter(key, "")


def test_a_refused_request_takes_neither_a_place_nor_of_the_rate() -> None:
    """Who is refused for its rate holds no place, and for its requests in progress uses up no rate."""
    setup, key = LimiterSetup(), principal("a", rate="2/h", burst=2, concurrent=1)
    held = setup.limiter.enter(key, "")
    assert setup.admitted(key, 50) == 0
    held.release()
    assert setup.admitted(key, 50) == 1
    assert len(setup.limiter._requests) == 0


def test_half_of_the_queue_is_the_default_for_callers_who_say_who_they_are() -> None:
    """It follows the settings at once; the operator's own number comes first."""
    setup, key = LimiterSetup(GATEWAY_MAX_QUEUE="8"), principal("a")
    held = [setup.limiter.enter(key, "") for _ in range(4)]
    assert setup.admitted(key, 1) == 0
    setup.settings.value = setup.settings.value.model_copy(update={"max_queue": 12})
    held += [setup.limiter.enter(key, "") for _ in range(2)]
    assert setup.admitted(key, 1) == 0
    setup.settings.value = load(
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "GATEWAY_CONCURRENT": "7", "GATEWAY_MAX_QUEUE": "1"}
    )
    held.append(setup.limiter.enter(key, ""))
    assert setup.admitted(key, 1) == 0
    for each in held:
        each.release()
    setup.settings.value = load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "GATEWAY_MAX_QUEUE": "1"})
    assert setup.admitted(key, 1) == 1


def test_addresses_are_principals_where_callers_are_not_asked() -> None:
    """One customer's IPv6 network counts as one, and an IPv4 address in either form."""
    setup = LimiterSetup(GATEWAY_RATE="3/h", GATEWAY_BURST="3", GATEWAY_CONCURRENT="2")
    assert setup.admitted(ANYONE, 5, "192.0.2.1") == 3
    assert setup.admitted(ANYONE, 5, "::ffff:192.0.2.1") == 0
    assert setup.admitted(ANYONE, 5, "192.0.2.2") == 3
    assert sum(setup.admitted(ANYONE, 1, f"2001:db8::{number:x}") for number in range(50)) == 3
    assert setup.admitted(ANYONE, 5, "2001:db8:0:1::1") == 3
    setup.limiter.enter(ANYONE, "192.0.2.3")
    setup.limiter.enter(ANYONE, "192.0.2.3")
    with pytest.raises(LimitExceeded, match="in progress"):
        setup.limiter.enter(ANYONE, "192.0.2.3")


def test_a_key_that_is_read_again_keeps_what_it_used() -> None:
    """Neither another object of the same key, nor other limits in the same one, give a fresh burst."""
    setup = LimiterSetup()
    assert setup.admitted(principal("a", rate="5/h", burst=5), 9) == 5
    again = principal("a", rate="5/h", burst=5)
    assert setup.admitted(again, 9) == 0
    again.limits = replace(again.limits, burst=7)
    assert setup.admitted(again, 9) == 2
    again.limits = Limits(rate=parse_rate("100/s"))
    setup.now += NANOSECONDS
    assert setup.admitted(again, 200) <= 100


def test_a_key_and_an_address_with_the_same_text_are_two() -> None:
    """The name of a principal has its source."""
    setup = LimiterSetup(GATEWAY_RATE="1/h")
    assert setup.admitted(ANYONE, 5, "192.0.2.1") == 1
    assert setup.admitted(principal("192.0.2.1"), 5) == 1


def test_what_is_kept_is_bounded() -> None:
    """A flood of principals, with names of any length, takes no more memory than the limit."""
    setup = LimiterSetup(GATEWAY_RATE="1/h")
    for number in range(20_001):
        caller = Principal(f"{number} " + "x" * 300, "jwt", ANYONE.rights)
        setup.limiter.enter(caller, "").release()
    assert len(setup.limiter._quotas) <= 10_000
    rates: Any = setup.limiter._rates
    assert max(map(len, rates._arrivals)) <= 200
    assert len(setup.limiter._requests) == 0


def test_refusals_are_counted_by_the_names_that_the_operator_wrote() -> None:
    """Any other principal, of whom there may be millions, is `other`."""
    setup = LimiterSetup(GATEWAY_RATE="1/h")
    setup.admitted(principal("billing"), 3)
    setup.admitted(principal("subject", configured=False), 4)
    setup.admitted(ANYONE, 5)
    held = setup.limiter.enter(principal("ops", rate="9/s", concurrent=1), "")
    setup.admitted(principal("ops", rate="9/s", concurrent=1), 1)
    held.release()
    assert {
        labels: count for (spec, labels), count in setup.counters.counts.items() if spec is RATE_LIMITED
    } == {
        ("keys:billing", "rate"): 2,
        ("other", "rate"): 3 + 4,
        ("keys:ops", "concurrent"): 1,
    }
