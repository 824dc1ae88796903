"""The matrix of MLflow's permissions and what the gateway allows for them, on any version of MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

from gateway.auth.actions import Action

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.auth.rights import Rights
    from tests.support.mlflow_users import Kind, UsersServer

KINDS: tuple[Kind, ...] = ("registered_model", "experiment")
LEVELS = {
    2: ("READ", "EDIT", "MANAGE", "NO_PERMISSIONS", ""),
    3: ("READ", "USE", "EDIT", "MANAGE", "DENY", ""),
}
_RANKS = {"READ": 1, "USE": 2, "EDIT": 3, "MANAGE": 4}


@dataclass(frozen=True, slots=True)
class Shelf:
    """Models of each kind, one for each permission that the user has there."""

    user: str
    names: dict[tuple[Kind, str], str]


def make_shelf(server: UsersServer, user: str) -> Shelf:
    """Create a user, and models with each permission for it."""
    server.create_user(user)
    names: dict[tuple[Kind, str], str] = {}
    for kind, level in product(KINDS, LEVELS[server.major]):
        name = names[kind, level] = f"{user}-{kind}-{level or 'nothing'}"
        key = name
        if kind == "registered_model":
            server.create_model(name)
        else:
            key = server.create_experiment(name)
        if level:
            server.permit(user, kind, key, level)
    return Shelf(user, names)


def is_allowed(level: str, action: Action, *, invoke: Literal["read", "use"]) -> bool:
    """Return what the documentation says."""
    rank = _RANKS.get(level, 0)
    if action is Action.MANAGE:
        return rank >= _RANKS["EDIT"]
    return rank >= (_RANKS["USE"] if action is Action.INVOKE and invoke == "use" else _RANKS["READ"])


async def wrong_decisions(
    rights: Rights, shelf: Shelf, *, invoke: Literal["read", "use"], actions: Iterable[Action]
) -> list[str]:
    """Return what is decided differently from the documentation: by a call first, then from memory."""
    wrong = []
    for ((kind, level), name), action in product(shelf.names.items(), actions):
        right = is_allowed(level, action, invoke=invoke)
        asked, decided = await rights.ask(action, name, None), rights.decide(action, name, None)
        if not (asked is decided is right):
            wrong.append(f"{action.value} of {kind} with {level or 'nothing'}: {asked}, then {decided}")
    return wrong
