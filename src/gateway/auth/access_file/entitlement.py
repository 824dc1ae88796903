"""What one role, key or principal of an access file may do, and how much."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.auth.actions import GRANTED, Action
from gateway.auth.grants import Grants, ModelPattern
from gateway.domain.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.domain.limits import Rate


@dataclass(frozen=True, slots=True)
class Entitlement:
    """Patterns of models for each action, and limits; `rights` decides by these patterns."""

    patterns: Mapping[Action, tuple[ModelPattern, ...]]
    limits: Limits
    rights: Grants = field(init=False)

    def __post_init__(self) -> None:
        """Make the rights once, so that their decisions are remembered."""
        object.__setattr__(self, "rights", Grants(self.patterns))

    def __str__(self) -> str:
        """Return the grants as a person reads them: `invoke wine, fraud@champion; read *`."""
        texts = (
            f"{action.value} {', '.join(pattern.text for pattern in patterns)}"
            for action, patterns in self.patterns.items()
            if patterns
        )
        return "; ".join(texts) or "nothing"


def unite_patterns(
    several: Iterable[Mapping[Action, tuple[ModelPattern, ...]]],
) -> dict[Action, tuple[ModelPattern, ...]]:
    """Return the patterns of all, each once."""
    found: dict[Action, dict[ModelPattern, None]] = {action: {} for action in GRANTED}
    for patterns in several:
        for action, some in patterns.items():
            found[action].update(dict.fromkeys(some))
    return {action: tuple(some) for action, some in found.items()}


def override_limits(own: Limits, general: Limits) -> Limits:
    """Return each of `own`, or that of `general` where it has none."""
    return Limits(
        rate=general.rate if own.rate is None else own.rate,
        burst=general.burst if own.burst is None else own.burst,
        concurrent=general.concurrent if own.concurrent is None else own.concurrent,
        max_body_bytes=general.max_body_bytes if own.max_body_bytes is None else own.max_body_bytes,
    )


def most_generous(several: Sequence[Limits]) -> Limits:
    """Return the largest of each limit among those that have it."""
    rates = [limits.rate for limits in several if limits.rate is not None]
    return Limits(
        rate=max(rates, key=_per_second, default=None),
        burst=_largest(several, lambda limits: limits.burst),
        concurrent=_largest(several, lambda limits: limits.concurrent),
        max_body_bytes=_largest(several, lambda limits: limits.max_body_bytes),
    )


def _largest(several: Sequence[Limits], value: Callable[[Limits], int | None]) -> int | None:
    return max((found for limits in several if (found := value(limits)) is not None), default=None)


def _per_second(rate: Rate) -> float:
    return rate.count / rate.seconds
