"""Lets a request in if its caller is known, asks for no more than it may, and may do what it wants."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from multidict import istr

from gateway.api import access
from gateway.auth.credentials import parse_credential
from gateway.auth.errors import AuthError, NotVisible, Unauthenticated
from gateway.auth.principal import ANYONE, UNKNOWN, current_principal
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web

    from gateway.api.access import Access
    from gateway.api.middleware.known_requests import KnownRequests
    from gateway.auth.authenticator import Authenticator
    from gateway.auth.credentials import Credential
    from gateway.auth.principal import Principal
    from workers.metrics import Counters

AUTH_OUTCOMES: Final = CounterSpec(
    "auth",
    "Requests by the kind of their credentials (none, keys, jwt, mtls, mlflow) and by what became of them:"
    " admitted, unauthenticated, ambiguous, denied (by 403, or by 404 where the model may not be read),"
    " limited or unavailable.",
    ("source", "outcome"),
)
PRINCIPAL_REQUESTS: Final = CounterSpec(
    "principal_requests",
    "Requests by their caller and status (2xx, 4xx, 5xx). Callers that the operator wrote down have a series"
    " of their own, all others are `other`.",
    ("principal", "status"),
)
_OTHER: Final = "other"
_AUTHORIZATION: Final = istr("Authorization")
_API_KEY: Final = istr("X-API-Key")
_STATUS_CLASSES: Final = ("", "1xx", "2xx", "3xx", "4xx", "5xx")

rate_headers: Final[ContextVar[Mapping[str, str]]] = ContextVar("rate_headers", default=MappingProxyType({}))
"""What the response to the current request says of its caller's rate."""


class Admission(Protocol):
    """A request that counts among those of its caller until it is released."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the response says of the caller's limits."""
        ...

    def release(self) -> None:
        """Count it no longer."""
        ...


class Limiter(Protocol):
    """Counts the requests of each caller."""

    def enter(self, principal: Principal, address: str) -> Admission:
        """Count one request. Raise LimitExceeded.

        Where callers are not asked who they are, the client's address is the caller; otherwise it is empty.
        """
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """What the connection and its trusted proxies say of a request."""

    certificate_names: Callable[[web.Request], Sequence[str]]
    address: Callable[[web.Request], str]


class _Caller:
    """What a request shows of its caller; names of certificates and the address are looked up if needed."""

    __slots__ = ("_peer", "_request", "credential")

    def __init__(self, request: web.Request, peer: Peer) -> None:
        """Raise AmbiguousCredentials for headers that cannot be read."""
        headers = request.headers
        self.credential: Credential | None = None
        if _AUTHORIZATION in headers or _API_KEY in headers:
            self.credential = parse_credential(
                headers.getall(_AUTHORIZATION, ()), headers.getall(_API_KEY, ())
            )
        self._request = request
        self._peer = peer

    def certificate_names(self) -> Sequence[str]:
        return self._peer.certificate_names(self._request)

    def address(self) -> str:
        return self._peer.address(self._request)


@dataclass(slots=True)
class AccessCheck:
    """The check of one request: what it needs, and what is known of its caller so far."""

    access: Access | None
    principal: Principal = UNKNOWN
    admission: Admission | None = None
    refusal: AuthError | NotVisible | None = None
    checked: bool = False

    def note(self, error: Exception) -> None:
        """Remember why the request was refused, wherever that was."""
        if isinstance(error, AuthError | NotVisible):
            self.refusal = error


class AccessControl:
    """The check of every request before its handler."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        limiter: Limiter | None,
        *,
        peer: Peer,
        counters: Counters,
        known: KnownRequests | None = None,
    ) -> None:
        """Without an `authenticator` every caller is `ANYONE`; without a `limiter` nothing is counted."""
        self._known = known
        self._authenticator = authenticator
        self._limiter = limiter
        self._peer = peer
        self._counters = counters
        self._access: Mapping[web.AbstractRoute, Access] = {}

    def set_routes(self, routes: Mapping[web.AbstractRoute, Access]) -> None:
        """Set what each route needs; anything else, such as a path without a route, needs a known caller."""
        self._access = routes

    def admit_known(self, request: web.Request, check: AccessCheck) -> bool:
        """Let a request in, and return True, if one like it was let in; raise LimitExceeded."""
        if self._known is None or (principal := self._known.find(request)) is None:
            return False
        check.checked, check.principal = True, principal
        current_principal.set(principal)
        self._count(request, check)
        return True

    async def admit(self, request: web.Request, check: AccessCheck) -> None:
        """Find out who is calling, and whether the request may go on.

        Raise AuthError or NotVisible if not, and NotFound or BadRequest for a path that names no model.
        """
        check.checked = True
        try:
            await self._admit_caller(request, check)
        except Unauthenticated as error:
            if self._authenticator is not None:
                error.challenges = self._authenticator.challenges
            raise

    def begin(self, request: web.Request) -> AccessCheck:
        """Return the check of a request that comes in."""
        return AccessCheck(self._access.get(request.match_info.route))

    def end(self, check: AccessCheck, status: int) -> None:
        """Count the request, which was answered with `status`."""
        if check.admission is not None:
            check.admission.release()
        if self._authenticator is None or check.access is access.OPEN or not check.checked:
            return
        principal, refusal = check.principal, check.refusal
        source: str = principal.source
        if principal is UNKNOWN and isinstance(refusal, AuthError):
            source = refusal.source
        outcome = "admitted" if refusal is None else refusal.outcome
        self._counters.increment(AUTH_OUTCOMES, source, outcome)
        if principal is not UNKNOWN:
            name = principal.label if principal.configured else _OTHER
            self._counters.increment(PRINCIPAL_REQUESTS, name, _STATUS_CLASSES[status // 100])

    async def _admit_caller(self, request: web.Request, check: AccessCheck) -> None:
        needed, authenticator = check.access, self._authenticator
        if needed is access.OPEN:
            self._recognise_if_any(request, check)
            return
        if authenticator is None:
            check.principal = ANYONE
        else:
            caller = _Caller(request, self._peer)
            current_principal.set(UNKNOWN)
            check.principal = authenticator.recognise(caller) or await authenticator.verify(caller)
            current_principal.set(check.principal)
        self._count(request, check)
        if needed is not None:
            await self._require(check.principal, needed, request)

    def _count(self, request: web.Request, check: AccessCheck) -> None:
        """Count the request among those of its caller; raise LimitExceeded."""
        if self._limiter is None:
            return
        address = self._peer.address(request) if check.principal is ANYONE else ""
        check.admission = self._limiter.enter(check.principal, address)
        if check.admission.headers:
            rate_headers.set(check.admission.headers)

    async def _require(self, principal: Principal, needed: Access, request: web.Request) -> None:
        """Raise unless the principal may do this."""
        if not access.is_allowed(principal, needed, request):
            await access.ask(principal, needed, request)
        elif self._known is not None:
            self._known.add(request, principal)

    def _recognise_if_any(self, request: web.Request, check: AccessCheck) -> None:
        """Find out who is calling if that is known at once; a probe with a wrong token is answered anyway."""
        if self._authenticator is None:
            check.principal = ANYONE
            return
        try:
            check.principal = self._authenticator.recognise(_Caller(request, self._peer)) or UNKNOWN
        except AuthError:
            check.principal = UNKNOWN
        current_principal.set(check.principal)
