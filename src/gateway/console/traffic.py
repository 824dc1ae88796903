"""The traffic of the last minutes: of one model or version, and over time for the charts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.console import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.telemetry.history import History

_MAX_STACKED: Final = 6


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the list shows of the requests to a model or version in the last minutes, as texts."""

    rate: str = text.DASH
    p95: str = text.DASH
    errors: str = text.DASH
    by_minute: tuple[int, ...] = field(default=())


NONE: Final = Traffic()


class TrafficFigures:
    """The traffic of all models at one moment."""

    def __init__(self, history: History) -> None:
        self._models: Mapping[str, Any] = history.snapshot()["models"]

    def model(self, name: str) -> Traffic:
        """Return the traffic of a model."""
        return _to_traffic(self._models.get(name))

    def version(self, name: str, version: str) -> Traffic:
        """Return the traffic of one version."""
        return _to_traffic(self._models.get(name, {}).get("versions", {}).get(version))


def _to_traffic(figures: Mapping[str, Any] | None) -> Traffic:
    if figures is None:
        return NONE
    p95, ratio = figures["p95_ms"], figures["error_ratio"]
    return Traffic(
        rate=text.format_rate(figures["requests_per_second"]),
        p95=text.format_milliseconds(None if p95 is None else p95 / 1000),
        errors=text.DASH if ratio is None else text.format_share(ratio),
        by_minute=tuple(figures["requests_by_minute"]),
    )


def chart_data(history: History) -> dict[str, Any]:
    """Return the series of the charts; of the models, those with the most memory and the sum of the rest."""
    view = history.snapshot()
    memory = view["memory"]
    models = list(memory["models"].items())
    stacked = [["gateway", memory["base"]], *([name, sizes] for name, sizes in models[:_MAX_STACKED])]
    if rest := [sizes for _, sizes in models[_MAX_STACKED:]]:
        stacked.append([f"{len(rest)} others", [sum(column) for column in zip(*rest, strict=True)]])
    return {
        "times": view["times"],
        "requests": view["requests"],
        "latency": view["latency_ms"],
        "memory": stacked,
        "limit": memory["limit"],
        "waiting": view["waiting"],
        "refused": view["refused"],
    }
