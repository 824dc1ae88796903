"""What one user of MLflow may do, as MLflow said a moment ago."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.auth.actions import Action
from gateway.auth.errors import AuthUnavailable, Unauthenticated
from gateway.auth.limits.refusals import counted_refusals
from gateway.auth.mlflow.access import find_level, find_readable, is_at_least
from gateway.auth.mlflow.slots import Slots
from gateway.auth.mlflow.visible import find_visible
from gateway.mlflow_client import NotAuthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.auth.mlflow.access import Resource
    from gateway.auth.mlflow.asking import Asking
    from gateway.auth.mlflow.identity import Identity
    from gateway.auth.rights import Extent
    from gateway.domain.refs import Selector
    from gateway.mlflow_client import CallerClient

_LEVEL_OF_USE: Final = "USE"
_LEVEL_OF_MANAGE: Final = "EDIT"


@dataclass(slots=True)
class _Answer:
    """What a caller may do with a name; `level` is None if it was not asked for."""

    resource: Resource | None
    level: str | None
    asked: float
    fresh_until: float
    refresh_at: float


@dataclass(slots=True)
class _Visible:
    names: frozenset[str]
    asked: float
    fresh_until: float


class MlflowRights:
    """The rights of one user: who may read a model may invoke it, unless the operator wants USE for that.

    Loading and unloading need EDIT. An admin may do all, and alone see the gateway's state.
    """

    def __init__(
        self, client: CallerClient, identity: Identity, *, asking: Asking, on_wrong: Callable[[], None]
    ) -> None:
        """`on_wrong` is called if the credentials are no longer right."""
        self._client = client
        self._identity = identity
        self._asking = asking
        self._on_wrong = on_wrong
        bounds = asking.bounds
        self._slots = Slots(
            bounds.calls_of_one, waiting=bounds.waiting_of_one, waiting_of_one=bounds.waiting_of_one
        )
        self._answers: dict[str, _Answer] = {}
        self._visible: _Visible | None = None

    def update(self, identity: Identity) -> None:
        """Take over what MLflow says now of the user."""
        if (identity.denied, identity.levels) != (self._identity.denied, self._identity.levels):
            self._answers.clear()
            self._visible = None
        self._identity = identity

    def allows_route(self, action: Action) -> bool:
        """Return True for the list of models, which shows what may be read; else whether it is an admin."""
        return action is Action.READ or self._identity.is_admin

    @property
    def reads(self) -> Extent:
        """All models for an admin; else MLflow knows."""
        return "all" if self._identity.is_admin else "some"

    def covers(self, action: Action, name: str) -> bool | None:
        """Return the same as `decide`: MLflow's rights are those of whole models."""
        return self.decide(action, name, None)

    def decide(self, action: Action, name: str, selector: Selector | None) -> bool | None:
        """Return whether a model may be used, of whatever version; None if only `ask` knows."""
        if self._identity.is_admin:
            return True
        answer = self._answers.get(name)
        now = self._asking.clock()
        if answer is None or now >= answer.fresh_until:
            return None
        if now >= answer.refresh_at:
            answer.refresh_at = math.inf
            self._asking.refreshes.start(self._find(name, needs_level=False))
        return self._judge(action, answer)

    async def ask(self, action: Action, name: str, selector: Selector | None) -> bool:
        """Return the same after a call to MLflow.

        Raise Unauthenticated, LimitExceeded, AuthUnavailable or SingleFlightClosed.
        """
        decided = self.decide(action, name, selector)
        if decided is not None:
            return decided
        with counted_refusals(self._asking.counters):
            answer = await self._find(name, needs_level=bool(self._needed_level(action)))
        decided = self._judge(action, answer)
        if decided is None:
            raise AuthUnavailable("MLflow cannot be asked about this right now.", source="mlflow")
        return decided

    async def readable(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of `names` that the user may read; raise what `ask` raises."""
        if self._identity.is_admin:
            return frozenset(names)
        visible = self._visible
        if visible is None or self._asking.clock() >= visible.fresh_until:
            with counted_refusals(self._asking.counters):
                visible = await self._asking.flight.do((id(self), "list"), self._look_up_visible)
        return frozenset(name for name in names if name in visible.names and not self._is_refused(name))

    def _is_refused(self, name: str) -> bool:
        answer = self._answers.get(name)
        return answer is not None and answer.resource is None and self._asking.clock() < answer.fresh_until

    def _judge(self, action: Action, answer: _Answer) -> bool | None:
        if answer.resource is None:
            return False
        needed = self._needed_level(action)
        if not needed:
            return True
        return None if answer.level is None else is_at_least(answer.level, needed)

    def _needed_level(self, action: Action) -> str:
        """Return the permission that an action needs beside that the model can be read."""
        if action is Action.READ or (action is Action.INVOKE and self._asking.invoke == "read"):
            return ""
        return _LEVEL_OF_USE if action is Action.INVOKE else _LEVEL_OF_MANAGE

    async def _find(self, name: str, *, needs_level: bool) -> _Answer:
        known = self._answers.get(name)
        needs_level = needs_level or (known is not None and known.level is not None)
        key = (id(self), "model", needs_level, name)
        return await self._asking.flight.do(key, lambda: self._look_up(name, needs_level=needs_level))

    async def _look_up(self, name: str, *, needs_level: bool) -> _Answer:
        bounds, started = self._asking.bounds, self._asking.clock()
        try:
            resource, level = await self._call(name, needs_level=needs_level)
        except AuthUnavailable:
            kept = self._answers.get(name)
            if kept is None or kept.resource is None or started - kept.asked >= bounds.kept:
                raise
            kept.fresh_until = max(kept.fresh_until, min(started + bounds.retry, kept.asked + bounds.kept))
            kept.refresh_at = math.inf
            return kept
        fresh = bounds.refused if resource is None else bounds.fresh
        refresh_at = math.inf if resource is None else started + bounds.refresh
        answer = _Answer(resource, level, started, started + fresh, refresh_at)
        self._answers.pop(name, None)
        self._answers[name] = answer
        if len(self._answers) > bounds.names_of_one:
            del self._answers[next(iter(self._answers))]
        return answer

    async def _call(self, name: str, *, needs_level: bool) -> tuple[Resource | None, str | None]:
        asking, identity = self._asking, self._identity
        try:
            async with self._slots.take(), asking.slots.take():
                with asking.mlflow_call():
                    resource = await find_readable(name, self._client, identity, served=asking.served)
                    if resource is None or not needs_level:
                        return resource, None
                    return resource, await find_level(resource, self._client, identity)
        except NotAuthenticated as error:
            raise self._wrong() from error

    async def _look_up_visible(self) -> _Visible:
        asking, started, kept = self._asking, self._asking.clock(), self._visible
        try:
            async with self._slots.take(), asking.slots.take():
                with asking.mlflow_call():
                    names = await find_visible(self._client, self._identity, served=asking.served)
        except NotAuthenticated as error:
            raise self._wrong() from error
        except AuthUnavailable:
            if kept is None or started - kept.asked >= asking.bounds.kept:
                raise
            kept.fresh_until = max(
                kept.fresh_until, min(started + asking.bounds.retry, kept.asked + asking.bounds.kept)
            )
            return kept
        self._visible = _Visible(names, started, started + asking.bounds.fresh)
        return self._visible

    def _wrong(self) -> Unauthenticated:
        self._answers.clear()
        self._visible = None
        self._on_wrong()
        return Unauthenticated("MLflow no longer accepts these credentials.", source="mlflow")
