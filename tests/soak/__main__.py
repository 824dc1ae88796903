"""`python -m tests.soak [--fleet] [--minutes M] [--seed N] [--out FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.soak import report
from tests.soak.fleet.report import FleetOutcome
from tests.soak.fleet.report import summary as fleet_summary
from tests.soak.fleet.soak import run_fleet
from tests.soak.options import Options, fleet_options
from tests.soak.soak import run


def main() -> int:
    """Soak, print the summary; the status is 1 where anything is wrong."""
    options, over_fleet = _options()
    report.say(f"a soak of {options.seconds:.0f} s with seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            outcome = asyncio.run(_stoppable(Path(folder), options, over_fleet=over_fleet))
        finally:
            _keep_logs(Path(folder), options)
    text = fleet_summary(outcome) if isinstance(outcome, FleetOutcome) else report.summary(outcome)
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0 if outcome.well else 1


async def _stoppable(folder: Path, options: Options, *, over_fleet: bool) -> report.Outcome | FleetOutcome:
    """The soak; SIGINT and SIGTERM end its load, and what follows that is done in order."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await (run_fleet if over_fleet else run)(folder, options, stop=stop)


def _options() -> tuple[Options, bool]:
    """What was asked for, and whether over a fleet."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=report.__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts (10)")
    parser.add_argument("--seed", type=int, default=None, help="the course of load and faults; else any")
    parser.add_argument("--out", type=Path, default=None, help="a file for the summary, beside the output")
    parser.add_argument(
        "--request-seconds",
        type=float,
        default=None,
        help="the gateway's time for a request; more where slow (5; 30 over a fleet)",
    )
    parser.add_argument("--fleet", action="store_true", help="over two gateways and three nodes")
    given = parser.parse_args()
    options = Options(
        seconds=given.minutes * 60,
        seed=secrets.randbelow(10**6) if given.seed is None else given.seed,
        out=given.out,
    )
    if given.fleet:
        options = fleet_options(options)
    if given.request_seconds is not None:
        options = replace(options, request_seconds=given.request_seconds)
    return options, given.fleet


def _keep_logs(folder: Path, options: Options) -> None:
    """Put the logs beside the summary, where one is written: one for each process there was."""
    if options.out is None:
        return
    for log in sorted(folder.rglob("gateway.log")):
        name = "-".join(log.parent.relative_to(folder).parts)
        options.out.with_suffix(f".{name}.log").write_bytes(log.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
