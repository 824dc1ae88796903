"""Recognises users of the MLflow server by their name and password, or their token."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

from gateway.auth.errors import AuthUnavailable, Unauthenticated
from gateway.auth.limits.refusals import counted_refusals
from gateway.auth.mlflow.asking import Asking
from gateway.auth.mlflow.bounds import DEFAULT
from gateway.auth.mlflow.failures import FailureLimiter, address_key, user_key
from gateway.auth.mlflow.identity import Identifier
from gateway.auth.mlflow.presented import Digests, present, principal_id, token_id
from gateway.auth.mlflow.rights import MlflowRights
from gateway.auth.mlflow.slots import Slots
from gateway.auth.principal import Principal
from gateway.domain.limits import Limits
from gateway.mlflow_client import CallerClient, NotAuthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from gateway.auth.credentials import Credential
    from gateway.auth.mlflow.asking import InvokeRight
    from gateway.auth.mlflow.bounds import Bounds
    from gateway.auth.mlflow.identity import Identity
    from gateway.auth.mlflow.presented import Presented
    from gateway.auth.mlflow.served import ServedNames
    from gateway.settings import MlflowSettings
    from workers.metrics import Counters

_WRONG: Final = "MLflow does not accept these credentials."
_NO_LIMITS: Final = Limits()  # of their own: those of the settings count


@dataclass(slots=True)
class _Session:
    """Credentials that were right at the time `asked`."""

    principal: Principal
    rights: MlflowRights
    client: CallerClient
    identity: Identity
    presented: Presented
    asked: float = 0.0
    fresh_until: float = 0.0
    refresh_at: float = 0.0


class MlflowAuthenticator:
    """Asks MLflow whose credentials these are, and keeps the answer for seconds.

    Credentials that were right before are asked again beside the limits of failures, so that wrong passwords
    of others do not lock out the user who is at work.
    """

    def __init__(
        self,
        settings: MlflowSettings,
        served: ServedNames,
        *,
        counters: Counters,
        invoke: InvokeRight = "read",
        bounds: Bounds = DEFAULT,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Open no connection yet; raise ValueError with the name of a wrong setting."""
        self._client = CallerClient(settings)
        self._bounds = bounds
        self._clock = clock
        self._asking = Asking(served, invoke=invoke, bounds=bounds, counters=counters, clock=clock)
        self._identifier = Identifier(self._client, clock=clock)
        self._failures = FailureLimiter(bounds, clock=clock)
        self._strangers = Slots(
            bounds.strangers, waiting=bounds.waiting_strangers, waiting_of_one=bounds.failures
        )
        self._digests = Digests()
        self._sessions: dict[bytes, _Session] = {}
        self._refused: dict[bytes, float] = {}

    async def open(self) -> Self:
        """Create the HTTP sessions; send nothing yet."""
        await self._client.open()
        return self

    async def close(self) -> None:
        """End all calls and connections."""
        await self._asking.close()
        await self._client.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def recognise(self, credential: Credential, address: str) -> Principal | None:
        """Return the principal of credentials that were right a moment ago, or None: `verify` knows."""
        key = self._digests.of(credential)
        session = self._sessions.get(key)
        if session is None:
            return None
        now = self._clock()
        if now >= session.fresh_until:
            return None
        if now >= session.refresh_at:
            session.refresh_at = math.inf
            keys = _keys(session.presented, address)
            self._asking.refreshes.start(self._ask_once(key, session.presented, keys=keys))
        return session.principal

    async def verify(self, credential: Credential, address: str) -> Principal:
        """Return the principal after asking MLflow.

        `address` is the client's. Raise Unauthenticated for credentials that MLflow does not accept,
        LimitExceeded after too many of them, AuthUnavailable if MLflow cannot be asked, or
        SingleFlightClosed.
        """
        known = self.recognise(credential, address)
        if known is not None:
            return known
        presented, key = present(credential), self._digests.of(credential)
        if presented is None or self._clock() < self._refused.get(key, -math.inf):
            raise Unauthenticated(_WRONG, source="mlflow")
        keys = _keys(presented, address)
        with counted_refusals(self._asking.counters):
            if key not in self._sessions:
                self._failures.check(keys)
            return await self._ask_once(key, presented, keys=keys)

    async def _ask_once(self, key: bytes, presented: Presented, *, keys: Sequence[str]) -> Principal:
        return await self._asking.flight.do(key, lambda: self._ask(key, presented, keys=keys))

    async def _ask(self, key: bytes, presented: Presented, *, keys: Sequence[str]) -> Principal:
        session, started = self._sessions.get(key), self._clock()
        try:
            if session is None:
                session = await self._meet(key, presented, keys=keys)
            else:
                session = await self._meet_again(key, session)
        except NotAuthenticated:
            self._refuse(key)
            raise Unauthenticated(_WRONG, source="mlflow") from None
        except AuthUnavailable:
            if session is None or started - session.asked >= self._bounds.kept:
                raise
            until = min(started + self._bounds.retry, session.asked + self._bounds.kept)
            session.fresh_until, session.refresh_at = max(session.fresh_until, until), math.inf
            return session.principal
        session.asked = started
        session.fresh_until = started + self._bounds.fresh
        session.refresh_at = started + self._bounds.refresh
        self._keep(key, session)
        return session.principal

    async def _meet(self, key: bytes, presented: Presented, *, keys: Sequence[str]) -> _Session:
        """Return a session for credentials that were never right before; raise NotAuthenticated."""
        client = self._client.authorized(presented.authorization)
        loop = asyncio.get_running_loop()
        async with self._strangers.take(keys[0]), self._asking.slots.take("strangers"):
            started = loop.time()
            try:
                with self._failures.attempt(keys), self._asking.mlflow_call():
                    identity = await self._identifier.identify(client, presented.user)
            except NotAuthenticated:
                refused_at = started + self._bounds.refusal_floor
            else:
                return self._create(key, presented, client=client, identity=identity)
        await asyncio.sleep(refused_at - loop.time())  # without a slot
        raise NotAuthenticated(_WRONG)

    async def _meet_again(self, key: bytes, session: _Session) -> _Session:
        presented, client = session.presented, session.client
        async with self._asking.slots.take():
            with self._asking.mlflow_call():
                identity = await self._identifier.refresh(client, session.identity, presented.user)
        if identity.name != session.identity.name:  # a token is another user's now
            return self._create(key, presented, client=client, identity=identity)
        session.identity = identity
        session.rights.update(identity)
        return session

    def _create(
        self, key: bytes, presented: Presented, *, client: CallerClient, identity: Identity
    ) -> _Session:
        rights = MlflowRights(
            client, identity, asking=self._asking, on_wrong=lambda: self._forget(key, rights)
        )
        name = principal_id(identity.name) if identity.name else token_id(presented.authorization)
        principal = Principal(name, "mlflow", rights, _NO_LIMITS)
        return _Session(principal, rights, client, identity, presented)

    def _keep(self, key: bytes, session: _Session) -> None:
        self._sessions.pop(key, None)
        self._sessions[key] = session
        if len(self._sessions) > self._bounds.callers:
            del self._sessions[next(iter(self._sessions))]

    def _forget(self, key: bytes, rights: MlflowRights) -> None:
        session = self._sessions.get(key)
        if session is not None and session.rights is rights:
            self._refuse(key)

    def _refuse(self, key: bytes) -> None:
        self._sessions.pop(key, None)
        self._refused.pop(key, None)
        self._refused[key] = self._clock() + self._bounds.refused
        if len(self._refused) > self._bounds.callers:
            del self._refused[next(iter(self._refused))]


def _keys(presented: Presented, address: str) -> tuple[str, ...]:
    """Return what failures are counted by: the address, and the user name if there is one."""
    address = address_key(address)
    return (address, user_key(presented.user)) if presented.user else (address,)
