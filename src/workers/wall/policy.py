"""What the operator wants of the wall around a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

WallMode = Literal["auto", "require", "off"]
WallNetwork = Literal["all", "none"]


@dataclass(frozen=True, slots=True)
class WallPolicy:
    """The operator's choice; it travels from the gateway to the worker.

    `mode`: auto confines as far as this kernel can, require refuses if anything is missing, off does nothing.
    `network`: none leaves a worker no socket but pairs within it.
    `readable`: folders that every worker may read, beside those that it needs.
    `private`: folders that no worker may read, even below one of those.
    `models`: folders with the files of all models. A worker may read those of its own model alone; the fork
    server of an environment may read all, because it does not know which models will come, unless the
    environment is private to one.
    """

    mode: WallMode = "auto"
    network: WallNetwork = "all"
    readable: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> WallPolicy:
        """Return the policy whose fields came as JSON."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**values)


class WallError(Exception):
    """A process cannot be confined as it should be. Its text is for the operator."""
