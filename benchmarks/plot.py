"""Requests per second of each contender over the number of connections, as a PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.contenders import CONTENDERS
from benchmarks.results import PER_SECOND
from benchmarks.scenarios import connections

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contenders import Contender
    from benchmarks.results import Results

mpl.use("Agg")
_COLOURS = {"ours": ("#d1495b", "#f08a4b", "#9c2c55"), "floor": ("#8d8d8d",), "mlflow": ("#1f6fb4",)}
_OTHERS = ("#2a9d8f", "#2a9d8f", "#8e6bbf", "#8e6bbf")
_COUNTS = (1, 16, 64, 256)
_NARROWEST = 1.17  # two labels nearer than this factor would lie upon each other


def draw(results: Results, contenders: list[Contender], file: Path, *, caption: str) -> None:
    """Draw what there is; nothing where that scenario was not measured."""
    lines = {one.name: _line(results, one.name) for one in contenders}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return
    figure = Figure(figsize=(9.5, 5.6), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    for one in contenders:
        if one.name in lines:
            xs, ys = zip(*lines[one.name], strict=True)
            style = "--" if "batching" in one.name and one.role != "ours" else "-"
            axes.plot(xs, ys, style, color=_colour(one), marker="o", markersize=4, linewidth=2)
    for name, height in _heights({name: points[-1][1] for name, points in lines.items()}).items():
        colour = next(_colour(one) for one in contenders if one.name == name)
        place = (lines[name][-1][0] + 0.07, height)
        axes.annotate(name, place, color=colour, va="center", fontsize=9, annotation_clip=False)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(range(len(_COUNTS)), [str(count) for count in _COUNTS])
    axes.set_xlim(-0.15, len(_COUNTS) - 0.1)
    axes.set_xlabel("connections at a time, one row per request")
    axes.set_ylabel("requests per second (logarithmic)")
    axes.grid(visible=True, which="major", color="#e4e4e4")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"An ElasticNet of 13 columns\n{caption}", loc="left", fontsize=10)
    figure.savefig(file)


def _line(results: Results, contender: str) -> list[tuple[int, float]]:
    found = [
        (place, results.value(connections.NAME, connections.case(count), contender, PER_SECOND))
        for place, count in enumerate(_COUNTS)
    ]
    return [(place, value) for place, value in found if value is not None]


def _colour(one: Contender) -> str:
    """By its place in the whole table, so that it stays the same if a contender is left out."""
    alike = [other.name for other in CONTENDERS if other.role == one.role]
    colours = _COLOURS.get(one.role, _OTHERS)
    return colours[alike.index(one.name) % len(colours)]


def _heights(ends: dict[str, float]) -> dict[str, float]:
    """Where each label stands: at its line's end, or as far above the one below it as it must."""
    heights: dict[str, float] = {}
    lowest = 0.0
    for name, end in sorted(ends.items(), key=lambda pair: pair[1]):
        heights[name] = max(end, lowest * _NARROWEST)
        lowest = heights[name]
    return heights
