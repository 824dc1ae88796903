"""The rows of the list of models, as texts: the page and the polled state show the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.console import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.console.summary import Summary
    from gateway.console.traffic import Traffic
    from gateway.domain.models import BestChoice, Model
    from gateway.telemetry.process_snapshot import State, VersionState

SYMBOLS: Final[dict[State, str]] = {"cold": "○", "loading": "◐", "warm": "●", "failed": "✕"}
_MAX_ALIASES: Final = 3
_MAX_VERSIONS: Final = 4
UNKNOWN: Final = "…"
_MAX_NAME: Final = 40
_MAX_REASON: Final = 140


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the list; everything but `state` is what a person reads."""

    name: str
    source: str
    aliases: str
    latest: str
    best: str
    best_reason: str
    state: State
    state_text: str
    reason: str
    rate: str
    p95: str
    errors: str
    memory: str
    spark: str

    def live(self) -> list[str]:
        """Return what may change while a page is open, in the order of `LIVE`."""
        return [getattr(self, name) for name in LIVE]


LIVE: Final = (
    "aliases",
    "latest",
    "best",
    "best_reason",
    "state",
    "state_text",
    "reason",
    "rate",
    "p95",
    "errors",
    "memory",
    "spark",
)


def build_row(
    model: Model, summary: Summary | None, versions: Sequence[VersionState], traffic: Traffic
) -> Row:
    """Return the row of a model; `versions` are those that some process has loaded, or could not load."""
    state, state_text, reason = describe_state(versions)
    memory = sum(version.memory_bytes for version in versions)
    return Row(
        name=model.name,
        source=model.source,
        aliases=_aliases_text(model) or text.DASH,
        latest=f"v{text.cut(model.latest, 12)}" if model.latest else text.DASH,
        best=UNKNOWN if summary is None else best_text(summary.best),
        best_reason="" if summary is None else text.cut(summary.best_reason, 200),
        state=state,
        state_text=state_text,
        reason=text.cut(reason, _MAX_REASON),
        rate=traffic.rate,
        p95=traffic.p95,
        errors=traffic.errors,
        spark=sparkline(traffic.by_minute),
        memory=text.format_bytes(memory) if memory else text.DASH,
    )


def sparkline(values: Sequence[int], *, width: int = 60, height: int = 16) -> str:
    """Return the points of a line in an SVG of this size; empty if there is nothing to draw."""
    top = max(values, default=0)
    if not top or len(values) < 2:
        return ""
    step = width / (len(values) - 1)
    return " ".join(
        f"{index * step:.0f},{height - 1 - value / top * (height - 2):.0f}"
        for index, value in enumerate(values)
    )


def describe_state(versions: Sequence[VersionState]) -> tuple[State, str, str]:
    """Return the state of a model, the same in words, and why it failed, if it did."""
    by_state: dict[State, list[VersionState]] = {}
    for version in versions:
        by_state.setdefault(version.state, []).append(version)
    failed = by_state.get("failed", [])
    if failed:
        return "failed", f"{_numbers(failed)} failed", failed[0].reason
    for state in ("loading", "warm"):
        if found := by_state.get(state):
            others = by_state.get("warm", []) if state == "loading" else []
            also = f", {_numbers(others)} warm" if others else ""
            return state, f"{state} {_numbers(found)}{also}", ""
    return "cold", "cold", ""


def best_text(best: BestChoice | None) -> str:
    """Return the best version with the metric that decided, and an arrow to the better side."""
    if best is None:
        return text.DASH
    arrow = "↑" if best.order == "max" else "↓"
    return f"v{best.version} {text.cut(best.metric, 24)} {text.format_number(best.value)} {arrow}"


def _aliases_text(model: Model) -> str:
    aliases = sorted(model.aliases.items())
    shown = ", ".join(f"@{text.cut(alias, 24)} v{version}" for alias, version in aliases[:_MAX_ALIASES])
    more = len(aliases) - _MAX_ALIASES
    return f"{shown} +{more}" if more > 0 else shown


def _numbers(versions: Sequence[VersionState]) -> str:
    shown = ", ".join(f"v{text.cut(version.version, 12)}" for version in versions[:_MAX_VERSIONS])
    more = len(versions) - _MAX_VERSIONS
    return f"{shown} +{more}" if more > 0 else shown
