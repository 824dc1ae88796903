"""What uv answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UvOutput:
    """What uv wrote, and its exit status: 1 for no solution, 2 for other errors."""

    status: int
    stdout: str
    stderr: str
