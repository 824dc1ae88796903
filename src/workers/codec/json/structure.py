"""Limits on the number of lists and objects in JSON, checked before Python objects are made of it.

An empty list takes 3 bytes of JSON, and up to 300 bytes of memory until a model has it as its input.
"""

from __future__ import annotations

import re
from typing import Final

from workers.codec.counting import count_bytes
from workers.errors import InvalidInput

MIN_CHECKED_BYTES: Final = 2**20
_BYTES_PER_CONTAINER: Final = 16
_WITHOUT_CASE_BIT: Final = 0xDF  # all but the one bit by which `[` and `{` differ
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # the last one may have no end


def max_containers(json_bytes: int) -> int:
    """Return how many lists and objects JSON of this length may have: 1,048,576, or one for each 16 bytes."""
    return max(MIN_CHECKED_BYTES, json_bytes // _BYTES_PER_CONTAINER)


def check_structure(body: bytes, *, in_strings: bool = False) -> None:
    """Raise InvalidInput if a body has too many lists and objects.

    What is in strings of JSON counts only if it may be JSON again (`in_strings`).
    """
    if len(body) <= MIN_CHECKED_BYTES:
        return
    limit, actual = max_containers(len(body)), _count(body)
    if actual > limit and not in_strings:
        actual = _count(_STRING.sub(b"", body))
    if actual > limit:
        raise InvalidInput(
            f"The body has {actual} lists and objects; one of its size may have at most {limit}."
            " Send fewer rows at a time."
        )


def _count(body: bytes) -> int:
    return count_bytes(body, b"[", mask=_WITHOUT_CASE_BIT)
