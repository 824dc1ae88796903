"""What a gateway process knows of a version's environment, as clients see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.environments.progress import BuildProgress

StateName = Literal["shared", "building", "ready", "failed"]


@dataclass(slots=True)
class EnvironmentState:
    """What this process knows of a version's environment; `shared` is the gateway's own."""

    state: StateName
    digest: str = ""
    python: str = ""
    reason: str = ""
    progress: BuildProgress | None = field(default=None, repr=False)
