"""What a gateway process knows of a version's environment, as clients see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.errors import EnvironmentUnfinished

StateName = Literal["shared", "building", "ready", "failed"]


class Progress(Protocol):
    """The progress of a build."""

    @property
    def text(self) -> str:
        """The progress in words."""


@dataclass(slots=True)
class EnvironmentState:
    """What this process knows of a version's environment; `shared` is the gateway's own."""

    state: StateName
    digest: str = ""
    python: str = ""
    reason: str = ""
    progress: Progress | None = field(default=None, repr=False)

    def raise_if_building(self) -> None:
        """Raise EnvironmentUnfinished, with the progress, while the environment is being built."""
        if self.state == "building":
            progress = f": {self.progress.text}" if self.progress else ""
            raise EnvironmentUnfinished(
                f"This version needs an environment of its own, and its environment is being built{progress}."
            )
