"""The settings that hold now: a few of them can change while the gateway runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.settings.fields import Settings


@dataclass(slots=True)
class Current:
    """Holds one frozen set of settings, which `gateway.reload` alone exchanges for another."""

    now: Settings
