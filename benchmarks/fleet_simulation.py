"""Simulate how even the placement of a fleet is: `python -m benchmarks.fleet_simulation`.

Orders, replicas and choices come from `gateway.engines.placement`; machines, models and requests are numbers.
The table goes to stdout, the picture to `docs/images/fleet-simulation.svg`.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import deque
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gateway.engines.placement import Candidate, choose, order, replicas
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

MACHINES = (3, 10, 100)
BUSY = (0.5, 0.7)
"""The load of the fleet, as a share of what its machines can do."""
MODELS = 1000
EXPONENT = 1.1
GATEWAYS = 4
"""Each chooses by its own requests in progress, which is all that it knows."""
STEPS, JOBS_PER_STEP = 300, 16
"""How long requests are played, and how many of them a machine answers in a step."""
PICTURE = Path(__file__).resolve().parent.parent / "docs/images/fleet-simulation.svg"
PICTURED_BUSY = 0.5
_COLOURS = {
    "one node each": "#8d8d8d",
    "replicas, split evenly": "#1f6fb4",
    "replicas, choice of two": "#d1495b",
}
HEADER = (
    "| machines | load | placement | copies | models per node | busiest / mean, split evenly "
    "| busiest / mean, choice of two | answered | copies that a death loads elsewhere, mean (most) |\n"
    "|--:|--:|---|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True)
class Placement:
    """The nodes that serve each model, by model; `shares` are the models' parts of all requests."""

    nodes: list[Candidate]
    shares: list[float]
    serving: list[tuple[Candidate, ...]]
    busy: float

    def held(self) -> list[int]:
        """Return the number of models on each node."""
        return [sum(node in serving for serving in self.serving) for node in self.nodes]

    def work(self) -> list[float]:
        """Return the requests of each node as a multiple of the mean, if replicas share evenly."""
        work = dict.fromkeys(self.nodes, 0.0)
        for share, serving in zip(self.shares, self.serving, strict=True):
            for node in serving:
                work[node] += share * len(self.nodes) / len(serving)
        return list(work.values())


@dataclass(frozen=True)
class Played:
    """The requests that each node got, and the share of them that was answered in the time."""

    work: list[float]
    answered: float


def zipf(models: int) -> list[float]:
    """Return each model's share of all requests, the most popular first."""
    weights = [1 / rank**EXPONENT for rank in range(1, models + 1)]
    return [weight / sum(weights) for weight in weights]


def place(machines: int, busy: float, *, by_load: bool) -> Placement:
    """Place all models, each on one node or on as many as `replicas` says from one replica on."""
    nodes = [Candidate(f"node-{number}:8090", 1.0) for number in range(machines)]
    shares = zipf(MODELS)
    serving = []
    for number, share in enumerate(shares):
        count = replicas(share * machines * busy, 1, most=machines if by_load else 1)
        serving.append(order(ModelKey(f"model-{number}", "1", "0"), nodes)[:count])
    return Placement(nodes, shares, serving, busy)


def deaths(placement: Placement) -> list[int]:
    """Return, for the death of each node, how many models are loaded on another node for it.

    That is one for each model there: the node's place is taken by the next in the order, which the tests of
    placement prove. A model that all nodes serve is loaded nowhere.
    """
    every = len(placement.nodes)
    return [
        sum(node in serving and len(serving) < every for serving in placement.serving)
        for node in placement.nodes
    ]


def play(placement: Placement) -> Played:
    """Send requests of random models in steps; each node answers `JOBS_PER_STEP`, the oldest first."""
    source = random.Random(1)  # noqa: S311 - a simulation that can be repeated
    cumulated = list(accumulate(placement.shares))
    arriving = round(len(placement.nodes) * JOBS_PER_STEP * placement.busy)
    queues: dict[str, deque[int]] = {node.name: deque() for node in placement.nodes}
    in_flight = [dict.fromkeys(queues, 0) for _ in range(GATEWAYS)]
    sent = dict.fromkeys(queues, 0)
    for _ in range(STEPS):
        for serving in source.choices(placement.serving, cum_weights=cumulated, k=arriving):
            gateway = source.randrange(GATEWAYS)
            name = choose(serving, in_flight[gateway], draw=source.random).name
            queues[name].append(gateway)
            in_flight[gateway][name] += 1
            sent[name] += 1
        for name, queue in queues.items():
            for _ in range(min(JOBS_PER_STEP, len(queue))):
                in_flight[queue.popleft()][name] -= 1
    mean = sum(sent.values()) / len(sent)
    unanswered = sum(len(queue) for queue in queues.values())
    return Played([count / mean for count in sent.values()], 1 - unanswered / sum(sent.values()))


def row(placement: Placement, played: Played, *, name: str) -> str:
    """Return one line of the table."""
    held, moved = placement.held(), deaths(placement)
    cells = (
        str(len(placement.nodes)),
        f"{placement.busy:.0%}",
        name,
        f"{sum(held):,}".replace(",", " "),
        f"{min(held)}-{max(held)}",
        f"{max(placement.work()):.2f}",
        f"{max(played.work):.2f}",
        f"{played.answered:.1%}",
        f"{sum(moved) / len(moved):.0f} ({max(moved)})",
    )
    return f"| {' | '.join(cells)} |"


def draw(lines: dict[int, dict[str, Sequence[float]]], file: Path) -> None:
    """Draw the load of each node, the busiest first, one panel for each number of machines."""
    mpl.rcParams["svg.hashsalt"] = "fleet"  # the same bytes for the same figures
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(lines), squeeze=False, sharey=True)[0]
    for panel, (machines, curves) in zip(panels, lines.items(), strict=True):
        _panel(panel, curves, machines=machines)
    panels[0].set_ylabel("requests, as a multiple of the mean")
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(file, format="svg", metadata={"Date": None})


def _panel(panel: Axes, curves: dict[str, Sequence[float]], *, machines: int) -> None:
    for name, work in curves.items():
        panel.step(
            range(machines + 1), [*sorted(work, reverse=True), min(work)], where="post", color=_COLOURS[name]
        )
        panel.lines[-1].set_label(name)
    panel.axhline(1, color="#e4e4e4", zorder=0)
    panel.set_title(f"{machines} machines", loc="left", fontsize=10)
    panel.set_xlabel("nodes, the busiest first")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.spines[["top", "right"]].set_visible(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_simulation", description=__doc__)
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the SVG to write")
    picture: Path = parser.parse_args(arguments).picture
    lines: dict[int, dict[str, Sequence[float]]] = {}
    sys.stdout.write(f"{MODELS} models, Zipf {EXPONENT}\n\n{HEADER}\n")
    for machines in MACHINES:
        for busy in BUSY:
            alone, spread = (place(machines, busy, by_load=by_load) for by_load in (False, True))
            played = play(spread)
            sys.stdout.write(row(alone, play(alone), name="one node each") + "\n")
            sys.stdout.write(row(spread, played, name="replicas by load") + "\n")
            sys.stdout.flush()
            if busy == PICTURED_BUSY:
                works = (alone.work(), spread.work(), played.work)
                lines[machines] = dict(zip(_COLOURS, works, strict=True))
    draw(lines, picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
