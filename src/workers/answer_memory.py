"""The memory for large answers, from the moment that a worker announces one until its client has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workers.protocol.bounds import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


class AnswerClaim(Protocol):
    """A number of bytes that are held, or will be once there is room."""

    @property
    def granted(self) -> bool:
        """Whether the bytes may be held."""

    def release(self, size: int) -> None:
        """Give back `size` of the bytes. A claim that is not granted yet is withdrawn."""


class AnswerMemory(Protocol):
    """An account of the bytes of all large answers, within one limit. Used from the event loop's thread."""

    def claim(self, size: int, on_granted: Callable[[], None]) -> AnswerClaim:
        """Return a claim for `size` bytes, granted at once or later; only if later, call `on_granted`."""


class _Granted:
    granted = True

    def release(self, size: int) -> None:
        """Do nothing: there is no limit."""


class UnlimitedAnswerMemory:
    """An account that grants every claim."""

    def claim(self, size: int, on_granted: Callable[[], None]) -> AnswerClaim:
        """Return a claim that is granted."""
        del size, on_granted
        return _Granted()


def _default_max_bytes() -> int:
    return MAX_ANSWER_BYTES


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """The limits for the answers of all models.

    `max_bytes` returns how many bytes the answers of one batch may have together, by the current settings.
    An answer waits for memory for `wait_seconds`.
    """

    max_bytes: Callable[[], int] = _default_max_bytes
    memory: AnswerMemory = UnlimitedAnswerMemory()  # noqa: RUF009 - it has no state
    wait_seconds: float = 10.0
