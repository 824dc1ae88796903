"""What the operator wants of the wall around a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WallMode = Literal["auto", "require", "off"]
WallNetwork = Literal["all", "none"]


@dataclass(frozen=True, slots=True)
class WallPolicy:
    """The operator's choice; it travels from the gateway to the worker.

    `mode`: auto confines as far as this kernel can, require refuses if anything is missing, off does nothing.
    `network`: none leaves a worker no socket but pairs within it.
    `readable`: folders that every worker may read, beside those that it needs.
    `private`: folders that no worker may read, even below one of those.
    """

    mode: WallMode = "auto"
    network: WallNetwork = "all"
    readable: tuple[str, ...] = ()
    private: tuple[str, ...] = ()


class WallError(Exception):
    """A process cannot be confined as it should be. Its text is for the operator."""
