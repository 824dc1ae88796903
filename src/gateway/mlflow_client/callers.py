"""A client that calls MLflow with the credentials of callers, and has none of its own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client import json_fields, users
from gateway.mlflow_client.auth import parse_tracking_url
from gateway.mlflow_client.client import MlflowClient
from gateway.mlflow_client.errors import NotAuthenticated, NotPermitted, Redirected, RequestRejected

if TYPE_CHECKING:
    from gateway.mlflow_client.users import OwnPermissions, ResourceType, User
    from gateway.settings import MlflowSettings

_USERS = "/api/2.0/mlflow/users"
_USERS_3 = "/api/3.0/mlflow/users"
_MAX_USER_BYTES = 4 * 2**20


class CallerClient(MlflowClient):
    """A client of one MLflow server without credentials; `authorized` returns one with those of a caller.

    It shares no connection, cookie or circuit breaker with the client of the gateway's own account, so that
    slow calls for callers do not stop the gateway's own.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        """Open no connection yet; raise ValueError with the name of a wrong setting."""
        super().__init__(_without_credentials(settings))

    def authorized(self, authorization: str) -> Self:
        """Return a client over the same open sessions whose calls have this `Authorization` header."""
        other = copy.copy(self)
        tracking = self._tracking.authorized(authorization)
        is_one = self._registry is self._tracking
        registry = tracking if is_one else self._registry.authorized(authorization)
        artifacts = self._artifacts.authorized(authorization)
        other._tracking, other._registry, other._artifacts = tracking, registry, artifacts  # noqa: SLF001 - a copy of its own
        return other

    async def asks_for_credentials(self) -> bool:
        """Return whether the server refuses a call without credentials, or sends it to a page for them."""
        try:
            await self._tracking.get("/api/2.0/mlflow/experiments/search", {"max_results": "1"}, parse=bool)
        except (NotAuthenticated, NotPermitted, Redirected):
            return True
        except RequestRejected as error:
            return not error.invalid
        return False

    async def current_user(self) -> User:
        """Return the user of the credentials; raise EndpointNotFound if the server is an MLflow 2."""
        return await self._tracking.get(f"{_USERS}/current", parse=users.parse_user)

    async def get_user(self, name: str) -> User:
        """Return the user `name`, whom the credentials must belong to."""
        return await self._tracking.get(
            f"{_USERS}/get", {"username": name}, parse=users.parse_user, max_bytes=_MAX_USER_BYTES
        )

    async def own_permissions(self) -> OwnPermissions:
        """Return what was denied to the user; raise EndpointNotFound before MLflow 3.17."""
        return await self._tracking.get(
            f"{_USERS_3}/current/permissions",
            parse=lambda response: users.parse_own_permissions(response, workspace=self._settings.workspace),
            max_bytes=_MAX_USER_BYTES,
        )

    async def get_permission(self, user: str, resource: ResourceType, key: str) -> str:
        """Return the user's permission on a registered model by its name, or on an experiment by its id.

        It is the one that counts, of defaults and roles too. Raise EndpointNotFound before MLflow 3.17.
        """
        level = await self._tracking.get(
            f"{_USERS_3}/permissions/get",
            {"username": user, "resource_type": resource, "resource_id": key},
            parse=lambda response: json_fields.get_text(response, "permission"),
        )
        if not level:
            raise BadUpstreamResponse("MLflow's response has no permission.")
        return level


def _without_credentials(settings: MlflowSettings) -> MlflowSettings:
    """Return the settings without the gateway's user, password and token, wherever they are from."""
    return settings.model_copy(
        update={
            "tracking_uri": _without_user(settings.tracking_uri, "MLFLOW_TRACKING_URI"),
            "registry_uri": _without_user(settings.registry_uri, "MLFLOW_REGISTRY_URI"),
            "username": "",
            "password": SecretStr(""),
            "token": SecretStr(""),
            "stored_credentials": SecretStr(""),
        }
    )


def _without_user(uri: str, name: str) -> str:
    return str(parse_tracking_url(uri, name=name).with_user(None)) if uri else uri
