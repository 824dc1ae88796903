"""The state of the wall around workers on this machine, as the log, `gateway check` and clients read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.wall import support

if TYPE_CHECKING:
    from workers.wall.policy import WallPolicy
    from workers.wall.support import WallSupport

_OFF = (
    "Workers are not confined, because GATEWAY_WORKER_WALL is off: a model can do what the gateway's user can"
)


@dataclass(frozen=True, slots=True)
class WallStatus:
    """What the operator wants, and what this kernel can do."""

    policy: WallPolicy
    support: WallSupport

    @property
    def complete(self) -> bool:
        """Whether workers are confined, and nothing is missing."""
        return self.policy.mode != "off" and self.support.complete

    @property
    def insufficient(self) -> bool:
        """Whether the gateway must not start."""
        return self.policy.mode == "require" and not self.support.complete

    @property
    def text(self) -> str:
        """The state in one sentence, without its full stop."""
        if self.policy.mode == "off":
            return _OFF
        parts = (
            f"Workers are confined by {self.support.parts}"
            if self.support.parts
            else "Workers are not confined"
        )
        return "; ".join([parts, *self.support.missing])

    @property
    def labels(self) -> tuple[str, str, str]:
        """The mode, the version of Landlock, and whether there is seccomp, as labels of the metric."""
        return self.policy.mode, str(self.support.landlock_abi), str(self.support.seccomp).lower()

    def to_json(self) -> dict[str, object]:
        """Return the state for `/version`."""
        return {
            "mode": self.policy.mode,
            "complete": self.complete,
            "landlock": self.support.landlock_abi,
            "seccomp": self.support.seccomp,
            "network": self.policy.network,
        }


def wall_status(policy: WallPolicy) -> WallStatus:
    """Return the state of the wall by asking the kernel."""
    return WallStatus(policy, support.detect())
