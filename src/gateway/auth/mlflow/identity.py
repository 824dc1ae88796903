"""Asks MLflow whose credentials these are."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.errors import BadUpstreamResponse, NotFound
from gateway.mlflow_client import (
    EndpointNotFound,
    NotAuthenticated,
    NotPermitted,
    Redirected,
    RequestRejected,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mlflow_client import CallerClient, ResourceType, User

logger = logging.getLogger(__name__)

_RECHECK_SECONDS: Final = 300.0
OPEN: Final = "MLflow answers callers without credentials"
OPEN_FIX: Final = "start it with --app-name basic-auth, or do not use GATEWAY_AUTH=mlflow"
_OPEN: Final = f"{OPEN}: {OPEN_FIX}."
_OTHER: Final = "MLflow says that these credentials are another user's."


class ServerNotAsking(BadUpstreamResponse):
    """The MLflow server accepts calls without credentials."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What MLflow says of a caller; `name` is empty if it tells no name.

    The caller may see no resources of the types in `denied`. `levels` has the permissions that were given
    to the caller, None if they must be asked for one by one.
    """

    name: str
    is_admin: bool = False
    denied: frozenset[str] = frozenset()
    levels: Mapping[tuple[ResourceType, str], str] | None = None


class Identifier:
    """Finds out whose credentials a client sends, by the calls that its MLflow server has.

    MLflow 3.17 has users/current and users/current/permissions; MLflow 2 has users/get for oneself, which
    tells permissions too. Another server must at least refuse a search with wrong credentials.
    """

    def __init__(self, anonymous: CallerClient, *, clock: Callable[[], float]) -> None:
        self._anonymous = anonymous
        self._clock = clock
        self._asking_until = self._no_current_until = clock()

    async def identify(self, client: CallerClient, user: str) -> Identity:
        """Return whose credentials `client` sends; `user` is the name among them, if there is one.

        Raise NotAuthenticated if they are wrong, ServerNotAsking if the server accepts calls without any.
        """
        await self.require_asking()
        try:
            found = await self._find_user(client, user)
        except (NotPermitted, NotFound, Redirected, RequestRejected) as error:
            raise NotAuthenticated(str(error)) from error
        if found is None:
            return Identity(user)
        if user and found.name.casefold() != user.casefold():
            raise NotAuthenticated(_OTHER)
        return await self._add_permissions(client, Identity(found.name, found.is_admin, levels=found.levels))

    async def refresh(self, client: CallerClient, known: Identity, user: str) -> Identity:
        """Return what MLflow says now of a caller that was identified before; raise as `identify` does."""
        if not known.name or known.levels is not None:
            return await self.identify(client, user)
        try:
            own = await client.own_permissions()
        except EndpointNotFound:
            return await self.identify(client, user)
        return replace(known, is_admin=own.is_admin, denied=own.denied)

    async def _find_user(self, client: CallerClient, user: str) -> User | None:
        if self._clock() >= self._no_current_until:
            try:
                return await client.current_user()
            except EndpointNotFound:
                self._no_current_until = self._clock() + _RECHECK_SECONDS
        if user:
            try:
                return await client.get_user(user)
            except EndpointNotFound:
                pass
        await client.search_registered_models(max_results=1)
        return None

    async def _add_permissions(self, client: CallerClient, found: Identity) -> Identity:
        if found.levels is not None:
            return found
        try:
            own = await client.own_permissions()
        except EndpointNotFound:
            pass
        else:
            return replace(found, is_admin=own.is_admin, denied=own.denied)
        try:
            return replace(found, levels=(await client.get_user(found.name)).levels)
        except (EndpointNotFound, NotPermitted):
            return found

    async def require_asking(self) -> None:
        """Raise ServerNotAsking if the server answers calls without credentials: then it checks none."""
        if self._clock() < self._asking_until:
            return
        if not await self._anonymous.asks_for_credentials():
            logger.error("%s", _OPEN, extra={"event": "mlflow_not_asking"})
            raise ServerNotAsking(_OPEN)
        self._asking_until = self._clock() + _RECHECK_SECONDS
