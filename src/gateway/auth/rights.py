"""What a principal may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.auth.actions import Action
    from gateway.domain.refs import Selector


Extent = Literal["all", "some", "none"]


class Rights(Protocol):
    """The rights of one principal. A right that is not given is refused."""

    @property
    def reads(self) -> Extent:
        """How many of the models may be read, as far as that is known without asking for each."""
        ...

    def allows_route(self, action: Action) -> bool:
        """Return whether a route without a model may be used: the list of models, or the gateway's state."""
        ...

    def decide(self, action: Action, name: str, selector: Selector | None) -> bool | None:
        """Return whether a version, or with None the whole model, may be used; None if only `ask` knows."""
        ...

    def covers(self, action: Action, name: str) -> bool | None:
        """Return whether any version of a model may be used; None if only `ask` knows."""
        ...

    async def ask(self, action: Action, name: str, selector: Selector | None) -> bool:
        """Return the same after a look elsewhere; raise AuthUnavailable if that is not possible."""
        ...

    async def readable(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of `names` that may be read as a whole."""
        ...


class _AllRights:
    reads: Extent = "all"

    def allows_route(self, action: Action) -> bool:
        return True

    def decide(self, action: Action, name: str, selector: Selector | None) -> bool | None:
        return True

    def covers(self, action: Action, name: str) -> bool | None:
        return True

    async def ask(self, action: Action, name: str, selector: Selector | None) -> bool:
        return True

    async def readable(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(names)


ALL_RIGHTS: Rights = _AllRights()
"""The rights of all where callers are not asked who they are."""
