"""`python -m tests.soak [--minutes M] [--seed N] [--out FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from tests.soak import report
from tests.soak.options import Options
from tests.soak.soak import run


def main() -> int:
    """Soak, print the summary; the status is 1 where anything is wrong."""
    options = _options()
    report.say(f"a soak of {options.seconds:.0f} s with seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            outcome = asyncio.run(_stoppable(Path(folder), options))
        finally:
            _keep_log(Path(folder), options)
    text = report.summary(outcome)
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0 if outcome.well else 1


async def _stoppable(folder: Path, options: Options) -> report.Outcome:
    """The soak; SIGINT and SIGTERM end its load, and what follows that is done in order."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await run(folder, options, stop=stop)


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=report.__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts (10)")
    parser.add_argument("--seed", type=int, default=None, help="the course of load and faults; else any")
    parser.add_argument("--out", type=Path, default=None, help="a file for the summary, beside the output")
    parser.add_argument(
        "--request-seconds",
        type=float,
        default=5.0,
        help="the gateway's time for a request; more where slow (5)",
    )
    given = parser.parse_args()
    return Options(
        seconds=given.minutes * 60,
        seed=secrets.randbelow(10**6) if given.seed is None else given.seed,
        out=given.out,
        request_seconds=given.request_seconds,
    )


def _keep_log(folder: Path, options: Options) -> None:
    """Put the gateway's log beside the summary, where one is written."""
    log = folder / "gateway" / "gateway.log"
    if options.out is not None and log.exists():
        options.out.with_suffix(".log").write_bytes(log.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
