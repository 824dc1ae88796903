"""Asks MLflow what a caller may do with what is served under a name."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import NotFound
from gateway.mlflow_client import EndpointNotFound, NotPermitted, RegisteredModel, RequestRejected

if TYPE_CHECKING:
    from gateway.auth.mlflow.identity import Identity
    from gateway.auth.mlflow.served import ServedNames
    from gateway.mlflow_client import CallerClient, ResourceType

logger = logging.getLogger(__name__)

VERSION_TYPES: Final[dict[ResourceType, frozenset[str]]] = {
    "registered_model": frozenset({"registered_model_version"}),
    "experiment": frozenset({"run", "logged_model"}),
}
"""Of which types of MLflow's resources the versions are, which may be denied apart from the model."""

_READ: Final = "READ"
_RANKS: Final = {"READ": 1, "USE": 2, "EDIT": 3, "MANAGE": 4}
_REFUSED: Final = (NotFound, NotPermitted, RequestRejected)


@dataclass(frozen=True, slots=True)
class Resource:
    """A registered model by its name, or an experiment by its id."""

    type: ResourceType
    key: str


def is_at_least(level: str, needed: str) -> bool:
    """Return whether one of MLflow's permissions includes another."""
    return _RANKS.get(level, 0) >= _RANKS[needed]


async def find_readable(
    name: str, client: CallerClient, identity: Identity, *, served: ServedNames
) -> Resource | None:
    """Return what is served under `name` if the caller may read it and its versions, else None.

    A registered model hides an experiment with its name, also from a caller who may read only that.
    Raise NotAuthenticated if the caller's credentials are no longer right.
    """
    if not _is_text(name):
        return None
    resource = await _find_registered(name, client) if "registry" in served.kinds else None
    if resource is None and "experiments" in served.kinds:
        resource = await _find_experiment(name, client, served=served)
    if resource is None or identity.denied & VERSION_TYPES[resource.type]:
        return None
    return resource


async def _find_registered(name: str, client: CallerClient) -> Resource | None:
    try:
        record = await client.get_registered_model(name)
        if record.name != name:  # the database does not tell upper from lower case; permissions do
            record = await client.get_registered_model(record.name)
    except _REFUSED:
        return None
    return None if record.is_prompt else Resource("registered_model", record.name)


async def _find_experiment(name: str, client: CallerClient, *, served: ServedNames) -> Resource | None:
    # The caller's answer cannot tell a registered model that is forbidden from one that does not exist.
    found = await served.find(name)
    if found is None or isinstance(found, RegisteredModel):
        return None
    try:
        experiment = await client.get_experiment_by_name(name)
    except _REFUSED:
        return None
    is_same = experiment.active and experiment.experiment_id == found.experiment_id
    return Resource("experiment", experiment.experiment_id) if is_same else None


async def find_level(resource: Resource, client: CallerClient, identity: Identity) -> str:
    """Return the caller's permission on what it may read; READ if the server does not tell."""
    if identity.levels is not None:
        return identity.levels.get((resource.type, resource.key), _READ)
    if not identity.name:
        return _READ
    try:
        return await client.get_permission(identity.name, resource.type, resource.key)
    except _REFUSED:
        return ""
    except EndpointNotFound:
        logger.warning(
            "This MLflow server does not tell its users' permissions: callers get what READ allows",
            extra={"event": "mlflow_permissions_unknown"},
        )
        return _READ


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name
