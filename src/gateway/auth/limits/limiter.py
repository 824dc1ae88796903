"""The limits of each principal on its requests: how many in a time, and how many in progress."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from gateway.auth.limits.addresses import address_name
from gateway.auth.limits.concurrency import ConcurrentRequests
from gateway.auth.limits.gcra import Gcra
from gateway.auth.limits.rates import LocalRates
from gateway.auth.limits.refusals import refuse
from gateway.domain.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.auth.limits.rates import Rates
    from gateway.auth.principal import Principal
    from gateway.settings import CurrentSettings
    from workers.metrics import Counters

_MAX_QUOTAS: Final = 10_000  # that are kept ready; working one out again takes some microseconds
_MAX_NAME_LENGTH: Final = 200
_RETRY_SECONDS: Final = 1.0  # until one of the requests in progress may have ended
_NO_HEADERS: Final[Mapping[str, str]] = {}


class Admission:
    """A request in progress; `headers` are those of its response about its principal's rate."""

    __slots__ = ("_name", "_requests", "headers")

    def __init__(self, requests: ConcurrentRequests | None, name: str, headers: Mapping[str, str]) -> None:
        """`requests` counts it under `name` until it is released; None does not."""
        self._requests = requests
        self._name = name
        self.headers = headers

    def release(self) -> None:
        """Record that the request has ended, however it did; a second call changes nothing."""
        if self._requests is not None:
            self._requests.remove(self._name)
            self._requests = None


UNLIMITED: Final = Admission(None, "", _NO_HEADERS)
"""The admission of every request whose principal has no limits."""


@dataclass(frozen=True, slots=True)
class _Quota:
    """The limits of one principal, worked out; `limits` are those it has of its own."""

    name: str
    limits: Limits | None
    gcra: Gcra | None
    concurrent: int | None
    policy: str

    def headers(self, gcra: Gcra, arrival: int, *, now: int) -> Mapping[str, str]:
        remaining, seconds = gcra.describe(arrival, now)
        return {"RateLimit-Policy": self.policy, "RateLimit": f'"default";r={remaining};t={seconds}'}


class RequestLimiter:
    """A limiter that admits or refuses each request by the limits of its principal.

    A principal's own limits come first, then those of the settings. Where callers are not asked who they
    are, the address is the principal. Rates are counted by `rates`, requests in progress in this process.
    """

    def __init__(
        self,
        settings: CurrentSettings,
        *,
        counters: Counters,
        rates: Rates | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`clock` must read the same nanoseconds in all processes that share `rates`."""
        self._settings = settings
        self._counters = counters
        self._rates = rates or LocalRates()
        self._clock = clock
        self._requests = ConcurrentRequests()
        self._quotas: dict[Principal | str, _Quota] = {}
        self._source = settings.value
        self._open = _is_unlimited(settings.value.auth.limits)

    def enter(self, principal: Principal, address: str) -> Admission:
        """Admit a request of a principal from an address, or raise LimitExceeded.

        The caller must release the admission when the request has ended.
        """
        if self._source is not self._settings.value:
            self._forget_quotas()
        if principal.source == "none":
            if self._open:
                return UNLIMITED
            quota = self._quotas.get(address) or self._address_quota(address)
        else:
            found = self._quotas.get(principal)
            quota = found if found and found.limits is principal.limits else self._quota(principal)
        return self._admit(principal, quota)

    def _admit(self, principal: Principal, quota: _Quota) -> Admission:
        requests, limit = self._requests, quota.concurrent
        if limit is not None and requests.count(quota.name) >= limit:
            many = "1 request of this caller is" if limit == 1 else f"{limit} requests of this caller are"
            raise refuse(
                "concurrent",
                f"{many} in progress, which is its limit.",
                principal=principal,
                counters=self._counters,
                wait_seconds=_RETRY_SECONDS,
            )
        headers = self._take(principal, quota, quota.gcra) if quota.gcra is not None else _NO_HEADERS
        if limit is None:
            return Admission(None, "", headers)
        requests.add(quota.name)
        return Admission(requests, quota.name, headers)

    def _take(self, principal: Principal, quota: _Quota, gcra: Gcra) -> Mapping[str, str]:
        """Take one request of the rate, and return the headers that say what is left of it."""
        now = self._clock()
        arrival, wait = self._rates.take(quota.name, gcra, now=now)
        headers = quota.headers(gcra, arrival, now=now)
        if wait:
            seconds = _format_seconds(wait / gcra.second)
            raise refuse(
                "rate",
                f"This caller's rate of requests is used up; the next one is admitted in {seconds} s.",
                principal=principal,
                counters=self._counters,
                wait_seconds=gcra.seconds(wait),
                rate_headers=headers,
            )
        return headers

    def _quota(self, principal: Principal) -> _Quota:
        settings, own = self._source, principal.limits
        default = settings.auth.limits
        half = max(1, settings.max_queue // 2 // settings.processes)  # of a queue for all processes
        concurrent = own.concurrent or default.concurrent or half
        quota = _new_quota(_bounded(str(principal)), own, default=default, concurrent=concurrent)
        return self._keep(principal, quota)

    def _address_quota(self, address: str) -> _Quota:
        default = self._source.auth.limits
        name = f"address:{address_name(address)}"
        return self._keep(address, _new_quota(name, None, default=default, concurrent=default.concurrent))

    def _keep(self, key: Principal | str, quota: _Quota) -> _Quota:
        if len(self._quotas) >= _MAX_QUOTAS:
            self._quotas.clear()
        self._quotas[key] = quota
        return quota

    def _forget_quotas(self) -> None:
        self._source = self._settings.value
        self._quotas.clear()
        self._open = _is_unlimited(self._source.auth.limits)


def _is_unlimited(limits: Limits) -> bool:
    return limits.rate is None and limits.concurrent is None


def _format_seconds(seconds: float) -> str:
    """Return seconds with at most three significant digits, as whole milliseconds, at least one."""
    decimals = min(3, 2 - math.floor(math.log10(seconds)))
    return f"{max(0.001, round(seconds, decimals)):.3f}".rstrip("0").rstrip(".")


def _bounded(name: str) -> str:
    """Return a name, or its hash if it is long, as a token's subject may be."""
    if len(name) <= _MAX_NAME_LENGTH:
        return name
    return f"sha256:{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _new_quota(name: str, own: Limits | None, *, default: Limits, concurrent: int | None) -> _Quota:
    """Return the quota of a principal; its own rate comes with its own burst, or the one of a second."""
    limits = own or default
    rate = limits.rate or default.rate
    if rate is None:
        return _Quota(name, own, None, concurrent, "")
    burst = limits.burst if limits.rate is not None or limits.burst is not None else default.burst
    gcra = Gcra.of(rate, Limits(rate=rate, burst=burst).effective_burst)
    return _Quota(name, own, gcra, concurrent, f'"default";q={gcra.burst};w={gcra.window_seconds}')
