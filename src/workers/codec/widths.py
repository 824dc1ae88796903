"""How much memory numpy's strings take: each as much as the longest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.codec.refusals import short
from workers.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMIT = 256 * 1024 * 1024
_CHARACTER = 4  # bytes, in numpy's unicode strings


def check(cells: Sequence[object], *, what: str) -> None:
    """Raises InputRefused where an array of the strings in `cells` would be too large."""
    longest = max((len(cell) for cell in cells if isinstance(cell, str)), default=0)
    if len(cells) * longest * _CHARACTER > _LIMIT:
        raise InputRefused(
            f"{short(what)} has {len(cells)} values, the longest of {longest} characters: as an array of"
            f" strings, where each takes as much as the longest, that is more than {_LIMIT // 1024**2} MiB."
        )
