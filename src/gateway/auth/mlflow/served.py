"""What the rights of callers need to know of the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.mlflow_client import Experiment, RegisteredModel
    from gateway.settings.types import NameSource


class ServedNames(Protocol):
    """What is served under a name, as the gateway's own account sees it."""

    @property
    def kinds(self) -> Collection[NameSource]:
        """The kinds of models that are served."""
        ...

    async def find(self, name: str) -> RegisteredModel | Experiment | None:
        """Return what is served under `name`, or None."""
        ...

    async def registered(self) -> frozenset[str]:
        """Return the names of all registered models that are served."""
        ...
