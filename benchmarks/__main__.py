"""`python -m benchmarks`: the gateway beside its peers, as ratios measured in one run."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from benchmarks.contenders import GATEWAY, PEERS
from benchmarks.load import Measured, driver, measure
from benchmarks.stage import staged

if TYPE_CHECKING:
    from benchmarks.contenders import Running
    from benchmarks.stage import Stage


def main() -> int:
    """Measure, print the table as it comes."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (5)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken (3)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64], help="at a time (1 64)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        say("training the model on a real MLflow server …")
        stage = stack.enter_context(staged(folder))
        running = {}
        for contender in (GATEWAY, *PEERS):
            say(f"starting {contender.name} …")
            running[contender.name] = stack.enter_context(contender.start(stage, folder))
        check(stage, running)
        for connections in options.connections:
            compare(stage, running, connections=connections, options=options, folder=folder)
    return 0


def check(stage: Stage, running: dict[str, Running]) -> None:
    """Every contender must give the same answer before it is measured. Raises RuntimeError."""
    answers = {name: predictions(server.url, stage.body) for name, server in running.items()}
    if len({orjson.dumps(answer) for answer in answers.values()}) != 1:
        raise RuntimeError(f"the answers differ: {answers}")
    say(f"one answer from all: {answers[GATEWAY.name]}")
    say(f"{machine()}; load by {driver()}")
    say("| connections | server | req/s | p50 ms | p99 ms | gateway is |")
    say("|--:|---|--:|--:|--:|--:|")


def predictions(url: str, body: bytes) -> object:
    """The predictions of one request."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310 - loopback
        return orjson.loads(reply.read())["predictions"]


def compare(
    stage: Stage, running: dict[str, Running], *, connections: int, options: argparse.Namespace, folder: Path
) -> None:
    """All contenders in turn, round by round, so that a noisy minute hits all of them."""
    rounds: dict[str, list[Measured]] = {name: [] for name in running}
    for _ in range(options.rounds):
        for name, server in running.items():
            rounds[name].append(
                measure(
                    server.url, stage.body, connections=connections, seconds=options.seconds, folder=folder
                )
            )
    ours = median(rounds[GATEWAY.name])
    for name, measured in rounds.items():
        one = median(measured)
        ratio = "" if name == GATEWAY.name else f"{ours.per_second / one.per_second:.1f} times as fast"
        say(f"| {connections} | {name} | {one.per_second:.0f} | {one.p50:.2f} | {one.p99:.2f} | {ratio} |")


def median(measured: list[Measured]) -> Measured:
    """The medians of the rounds."""
    return Measured(
        statistics.median(one.per_second for one in measured),
        statistics.median(one.p50 for one in measured),
        statistics.median(one.p99 for one in measured),
    )


def machine() -> str:
    """What it was measured on."""
    names = ("mlflow", "aiohttp", "pandas", "scikit-learn")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{platform.machine()}, Python {platform.python_version()}, {versions}"


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
