"""What a caller must be allowed to do to use a route, and whether it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.api.paths import get_model_name, get_model_ref
from gateway.auth.actions import Action
from gateway.auth.errors import NotVisible, PermissionDenied
from gateway.auth.principal import current_principal
from gateway.domain.refs import quote_name

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.auth.principal import Principal
    from gateway.domain.refs import Selector


class Scope(Enum):
    """What of a model a route is about."""

    NONE = "no model, or all of them"
    MODEL = "all of the model that the path names"
    VERSION = "the version that the path names"
    BODY = "the version that the body names: the handler calls `require`"


@dataclass(frozen=True, slots=True)
class Access:
    """What a route does, and with what."""

    action: Action
    scope: Scope = Scope.NONE


OPEN: Final = Access(Action.OPEN)
STATUS: Final = Access(Action.STATUS)
LIST: Final = Access(Action.READ)
READ_MODEL: Final = Access(Action.READ, Scope.MODEL)
READ_VERSION: Final = Access(Action.READ, Scope.VERSION)
INVOKE_VERSION: Final = Access(Action.INVOKE, Scope.VERSION)
MANAGE: Final = Access(Action.MANAGE, Scope.BODY)


def is_allowed(principal: Principal, access: Access, request: web.Request) -> bool:
    """Return whether it is known that the request may go on; if not, `ask` finds out.

    Raise PermissionDenied, and NotFound and BadRequest for a path that names no model or version.
    """
    if access.scope is Scope.BODY:
        return principal.rights.covers(access.action, get_model_name(request)) is True
    if access.scope is not Scope.NONE:
        return principal.rights.decide(access.action, *_target(access, request)) is True
    if access.action is Action.OPEN or principal.rights.allows_route(access.action):
        return True
    raise PermissionDenied(f"These credentials do not have the right `{access.action.value}`.")


async def ask(principal: Principal, access: Access, request: web.Request) -> None:
    """Raise NotFound or PermissionDenied unless the request may go on.

    A caller that may not read a model is answered as if it did not exist. Raise AuthUnavailable if the
    rights cannot be found out.
    """
    if access.scope is Scope.BODY and principal.rights.covers(access.action, get_model_name(request)):
        return
    await _ask(principal, access.action, *_target(access, request))


async def require(action: Action, name: str, selector: Selector | None) -> None:
    """Raise what `ask` raises unless the current caller may do this.

    `selector` is the version, None for all of the model.
    """
    await _ask(current_principal.get(), action, name, selector)


async def _ask(principal: Principal, action: Action, name: str, selector: Selector | None) -> None:
    if await principal.rights.ask(action, name, selector):
        return
    if action is not Action.READ and await principal.rights.ask(Action.READ, name, selector):
        raise PermissionDenied(f"These credentials do not have the right `{action.value}` for this model.")
    raise NotVisible(f"There is no model {quote_name(name)} that these credentials may see.")


def _target(access: Access, request: web.Request) -> tuple[str, Selector | None]:
    if access.scope in {Scope.MODEL, Scope.BODY}:
        return get_model_name(request), None
    ref = get_model_ref(request)
    return ref.name, ref.selector
