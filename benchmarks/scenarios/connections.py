"""One row per request, over one connection and over many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.stage import WINE

if TYPE_CHECKING:
    from benchmarks.bench import Bench

NAME = "connections"


def run(bench: Bench) -> None:
    """Every contender at every number of connections."""
    servers = bench.servers(WINE, bench.contenders())
    for connections in bench.options.connections:
        measured = bench.in_turn(
            servers, bench.stage.body(1), connections=connections, seconds=bench.options.seconds
        )
        bench.add(NAME, case(connections), measured)


def case(connections: int) -> str:
    """Return the name of the case with this number of connections."""
    return f"1 row x {connections}"
