"""The names that a caller may read, by MLflow's own search, which leaves out what the caller may not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.auth.mlflow.access import VERSION_TYPES
from gateway.mlflow_client import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.auth.mlflow.identity import Identity
    from gateway.auth.mlflow.served import ServedNames
    from gateway.mlflow_client import CallerClient, Experiment, Page, RegisteredModel

logger = logging.getLogger(__name__)

T = TypeVar("T", "RegisteredModel", "Experiment")

_PAGE_SIZE: Final = 1000
_MAX_PAGES: Final = 20


async def find_visible(client: CallerClient, identity: Identity, *, served: ServedNames) -> frozenset[str]:
    """Return the names of all that is served and that the caller may read, of at most 20 000 each.

    An experiment that a registered model hides is not among them, even if the caller may read it.
    """
    visible: frozenset[str] = frozenset()
    if "registry" in served.kinds and not identity.denied & VERSION_TYPES["registered_model"]:

        async def models(token: str) -> Page[RegisteredModel]:
            return await client.search_registered_models(max_results=_PAGE_SIZE, token=token)

        visible |= await _names(models)
    if "experiments" in served.kinds and not identity.denied & VERSION_TYPES["experiment"]:

        async def experiments(token: str) -> Page[Experiment]:
            return await client.search_experiments(max_results=_PAGE_SIZE, token=token)

        found = await _names(experiments)
        visible |= (found - await served.registered()) if found else found
    return visible


async def _names(search: Callable[[str], Awaitable[Page[T]]]) -> frozenset[str]:
    names: set[str] = set()
    token = ""
    for _ in range(_MAX_PAGES):
        try:
            page = await search(token)
        except NotPermitted:
            return frozenset()
        names.update(record.name for record in page.items)
        token = page.token
        if not token:
            break
    else:
        logger.warning(
            "A user of MLflow may read more than %d models; the list leaves out the others",
            _MAX_PAGES * _PAGE_SIZE,
            extra={"event": "mlflow_list_cut"},
        )
    return frozenset(names)
