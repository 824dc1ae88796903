"""MLflow's users and their permissions, as its basic authentication tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.mlflow_client import json_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
ResourceType = Literal["registered_model", "experiment"]

_DENY: Final = "DENY"


@dataclass(frozen=True, slots=True)
class User:
    """A user; an admin may do everything.

    `levels` are the permissions that were given to the user by the resource's type and name or id; None if
    the server tells them elsewhere: only MLflow 2 tells them here.
    """

    name: str
    is_admin: bool
    levels: Mapping[tuple[ResourceType, str], str] | None = None


@dataclass(frozen=True, slots=True)
class OwnPermissions:
    """What MLflow 3 tells users of their own permissions.

    `denied` are the types of resources, such as `run` or `registered_model_version`, of which the user may
    see none.
    """

    is_admin: bool
    denied: frozenset[str]


def parse_user(response: Json) -> User:
    """Parse a user; raise BadUpstreamResponse if the name is missing."""
    user = json_fields.get_object(response, "user") or response
    return User(
        name=json_fields.required_text(user, "username"),
        is_admin=user.get("is_admin") is True,
        levels=_parse_levels(user),
    )


def _parse_levels(user: Json) -> Mapping[tuple[ResourceType, str], str] | None:
    if "registered_model_permissions" not in user:
        return None
    levels: dict[tuple[ResourceType, str], str] = {}
    for row in json_fields.get_objects(user, "registered_model_permissions"):
        key = json_fields.get_text(row, "name")
        levels["registered_model", key] = json_fields.get_text(row, "permission")
    for row in json_fields.get_objects(user, "experiment_permissions"):
        key = json_fields.get_text(row, "experiment_id")
        levels["experiment", key] = json_fields.get_text(row, "permission")
    return levels


def parse_own_permissions(response: Json, *, workspace: str) -> OwnPermissions:
    """Parse the permissions of the caller; those of other workspaces count if `workspace` is empty."""
    rows = json_fields.get_objects(response, "permissions")
    return OwnPermissions(
        is_admin=response.get("is_admin") is True,
        denied=frozenset(
            json_fields.get_text(row, "resource_type")
            for row in rows
            if row.get("permission") == _DENY
            and row.get("resource_pattern") == "*"
            and workspace in {"", json_fields.get_text(row, "workspace")}
        ),
    )
