"""`python -m benchmarks`: the gateway beside its peers, or an earlier revision, as ratios of one run."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import against, load, machine
from benchmarks.bench import Bench, Options
from benchmarks.contenders import CONTENDERS
from benchmarks.ratios import SLOWER_BELOW
from benchmarks.report import FOLDER, Report
from benchmarks.results import Results, say
from benchmarks.scenarios import LONG, SCENARIOS
from benchmarks.stage import staged

if TYPE_CHECKING:
    from types import FrameType

CONNECTIONS = (1, 16, 64, 256)


def main() -> int:
    """Measure, print the figures as they come, write the report; return 1 if a request failed."""
    signal.signal(signal.SIGTERM, _stop)
    parser = _parser()
    wanted = parser.parse_args()
    if problem := _problem(wanted):
        parser.error(problem)
    try:
        return _against(wanted) if wanted.against else _beside_peers(wanted)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer contenders and rounds: three minutes")
    parser.add_argument("--only", choices=SCENARIOS, nargs="+", help="these scenarios alone")
    parser.add_argument("--seconds", type=float, help="of each measurement (5; against: 3; quick: 2)")
    parser.add_argument("--rounds", type=int, help="of which the medians are taken (3; against: 5; quick: 1)")
    parser.add_argument("--connections", type=int, nargs="+", help="in that scenario (1 16 64 256)")
    parser.add_argument("--output", type=Path, help="the folder of the report; by default benchmarks/results")
    parser.add_argument(
        "--against",
        metavar="REV",
        help="compare this checkout with a git revision, not with the peers: print the ratios this/REV, over"
        " 1 if this checkout is faster, and write no report; under four minutes",
    )
    parser.add_argument(
        "--fail-below",
        metavar="RATIO",
        type=float,
        help="with --against: the ratio below which a measure is marked SLOWER, and the exit status is 1;"
        f" without it the mark is set below {SLOWER_BELOW:g} and leaves the status alone",
    )
    return parser


def _problem(wanted: argparse.Namespace) -> str | None:
    """Return what is wrong with a combination of options, or None."""
    if wanted.against is None:
        return "--fail-below goes with --against" if wanted.fail_below is not None else None
    if wanted.only or wanted.connections or wanted.output:
        return "--only, --connections and --output do not go with --against"
    return None


def _against(wanted: argparse.Namespace) -> int:
    """Compare this checkout with a git revision; return the exit status."""
    return against.compare(
        wanted.against,
        rounds=wanted.rounds or (1 if wanted.quick else 5),
        seconds=wanted.seconds or (2.0 if wanted.quick else 3.0),
        fail_below=wanted.fail_below,
    )


def _beside_peers(wanted: argparse.Namespace) -> int:
    """Measure the gateway beside its peers; return the exit status."""
    options = Options(
        quick=wanted.quick,
        rounds=wanted.rounds or (1 if wanted.quick else 3),
        seconds=wanted.seconds or (2.0 if wanted.quick else 5.0),
        connections=tuple(wanted.connections or CONNECTIONS),
    )
    usual = [name for name in SCENARIOS if not (wanted.quick and name in LONG)]
    return measured(options, wanted.only or usual, wanted.output or FOLDER)


def measured(options: Options, scenarios: list[str], output: Path) -> int:
    """The exit status, after the report was written."""
    started = time.monotonic()
    results = Results()
    busy = machine.busy()
    say(f"{machine.described()}; {busy}; load by {load.named()}")
    for one in CONTENDERS:
        if missing := one.missing():
            results.remark(f"{one.name} was left out: {missing}")
    with tempfile.TemporaryDirectory() as name:
        say("training the models on a real MLflow server …")
        folder = Path(name)
        with staged(folder) as stage:
            bench = Bench(stage, folder, options, results)
            try:
                for scenario in scenarios:
                    say(f"--- {scenario}, after {time.monotonic() - started:.0f} s")
                    SCENARIOS[scenario](bench)
            finally:
                bench.clear()
            contenders = bench.contenders()
    report = Report(results, options, contenders, busy)
    report.write(output)
    say("\n".join(report.table()))
    for row in results.failed:
        say(f"failed: {row.cells()}")
    say(f"written to {output} after {time.monotonic() - started:.0f} s")
    return 1 if results.failed else 0


def _stop(number: int, _: FrameType | None) -> None:
    """End as after Ctrl-C, so that every server is ended too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
