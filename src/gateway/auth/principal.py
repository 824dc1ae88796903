"""Who is calling."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.auth.grants import NO_RIGHTS
from gateway.auth.rights import ALL_RIGHTS
from gateway.domain.limits import Limits

if TYPE_CHECKING:
    from gateway.auth.rights import Rights
    from gateway.settings.auth import AuthSource


@dataclass(slots=True, eq=False)
class Principal:
    """One caller: a key, the subject of a token, the name in a certificate, or a user of MLflow.

    `id` is safe to be logged and names no secret; `source` and `id` together are unique. `configured`: the
    operator wrote it down, so that there are few, and metrics may name it. `label` is both in one text.
    `expires_at`, in seconds since 1970, is that of its API key.
    """

    id: str
    source: AuthSource
    rights: Rights
    limits: Limits = field(default_factory=Limits)
    configured: bool = False
    expires_at: float = math.inf
    label: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the label once: each request is counted by it."""
        self.label = f"{self.source}:{self.id}"

    def __str__(self) -> str:
        """Return the label, which is the form of the log."""
        return self.label


ANYONE: Final = Principal("anyone", "none", ALL_RIGHTS)
"""The caller where callers are not asked who they are."""

UNKNOWN: Final = Principal("unknown", "none", NO_RIGHTS)
"""A caller that did not show who it is, of a route that does not ask."""

current_principal: Final[ContextVar[Principal]] = ContextVar("current_principal", default=ANYONE)
"""The caller of the current request."""
