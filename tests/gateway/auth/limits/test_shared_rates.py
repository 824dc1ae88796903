"""Proves that all gateway processes count in one table, also if some of them die in the middle of it."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.auth.limits.gcra import NANOSECONDS, Gcra
from gateway.auth.limits.shared_rates import SharedRates
from gateway.domain.limits import Rate, parse_rate
from tests.support.rate_processes import RateProcesses
from tests.workers.stateful.effort import effort

DAY = 86400 * NANOSECONDS
PROCESSES = 3
ALL = list(range(PROCESSES))
NAMES = ("a", "b", "c")
RATES = ("50/s", "3/s", "7/min", "1000/h", "999999999/s")
FIVE = Gcra.of(parse_rate("1/s"), 5)


class Bucket:
    """A token bucket in exact fractions: what one process that saw every request would admit."""

    def __init__(self, rate: Rate, burst: int, at: int) -> None:
        self.rate = rate
        self.burst = burst
        self.speed = Fraction(rate.count, rate.seconds * NANOSECONDS)
        self.tokens = Fraction(burst)
        self.at = at

    def take(self, now: int, tries: int) -> int:
        self.tokens = min(Fraction(self.burst), self.tokens + (now - self.at) * self.speed)
        self.at = now
        admitted = min(tries, int(self.tokens))
        self.tokens -= admitted
        return admitted


class SharedRatesMachine(RuleBasedStateMachine):
    """Some processes with one table, beside one exact bucket for each principal.

    All names are in one bucket of the table, so that the processes also meet in its lock. The machine has the
    clock. So each answer is known exactly, and not only to one request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes = RateProcesses(PROCESSES)
        self.now = DAY

    @initialize(rates=st.lists(st.sampled_from(RATES), min_size=3, max_size=3), burst=st.integers(1, 12))
    def choose_limits(self, rates: list[str], burst: int) -> None:
        self.buckets = {
            name: Bucket(parse_rate(rate), burst, self.now) for name, rate in zip(NAMES, rates, strict=True)
        }

    @rule(name=st.sampled_from(NAMES), process=st.sampled_from(ALL), tries=st.integers(1, 4))
    def ask_one(self, name: str, process: int, tries: int) -> None:
        self._check(name, [process], tries)

    @rule(name=st.sampled_from(NAMES), tries=st.integers(1, 30))
    def ask_all_at_once(self, name: str, tries: int) -> None:
        self._check(name, ALL, tries)

    @rule(pause=st.one_of(st.integers(0, 40_000_000), st.integers(0, 3 * 3600 * NANOSECONDS)))
    def wait(self, pause: int) -> None:
        self.now += pause

    @rule(name=st.sampled_from(NAMES), process=st.sampled_from(ALL))
    def kill_one_that_holds_the_lock(self, name: str, process: int) -> None:
        self.processes.lock_and_kill(process, name)

    def _check(self, name: str, processes: list[int], tries: int) -> None:
        bucket = self.buckets[name]
        admitted = self.processes.take(
            processes, name, bucket.rate, burst=bucket.burst, now=self.now, tries=tries
        )
        assert admitted == bucket.take(self.now, tries * len(processes))

    def teardown(self) -> None:
        self.processes.__exit__()


TestSharedRates = SharedRatesMachine.TestCase
TestSharedRates.settings = effort(12, 25, shrinks=False)


def test_processes_that_ask_at_once_get_one_burst() -> None:
    """Of 80 000 tries by processes that race for the same lock, exactly the burst is admitted."""
    with RateProcesses(4) as processes:
        for name in NAMES:
            count = processes.take([0, 1, 2, 3], name, parse_rate("1/h"), burst=20_000, now=DAY, tries=20_000)
            assert count == 20_000


def test_a_stopped_process_that_holds_the_lock_stops_nobody() -> None:
    """The others count on, and wait for it only once; when it goes on, it counts with them."""
    rate = parse_rate("1/h")
    with RateProcesses(3, patience_seconds=0.02) as processes:
        assert processes.take([0], "a", rate, burst=10, now=DAY, tries=4) == 4
        processes.lock_and_stop(0, "a")
        assert processes.take([1], "a", rate, burst=10, now=DAY, tries=5) == 5
        assert processes.take([2], "a", rate, burst=10, now=DAY, tries=200) == 1
        processes.resume(0)
        assert processes.take([0, 1, 2], "a", rate, burst=10, now=DAY, tries=5) == 0


def admitted(table: SharedRates, name: str, tries: int, *, now: int = DAY) -> int:
    return sum(table.take(name, FIVE, now=now)[1] == 0 for _ in range(tries))


def test_a_full_bucket_forgets_the_one_that_is_least_ahead() -> None:
    """Others than that keep what they have used; the one that is forgotten gets one burst, not more."""
    table = SharedRates(buckets=1)
    for number in range(8):
        assert admitted(table, f"name {number}", 3 + number % 2) == 3 + number % 2
    assert admitted(table, "one more", 5) == 5
    left = [admitted(table, f"name {number}", 9) for number in (1, 3, 5, 7)]
    assert left == [1, 1, 1, 1]
    assert admitted(table, "name 0", 9) == 5
    table.close()


def test_passed_arrivals_make_room_without_a_loss() -> None:
    """What has passed tells nothing, so a principal that is asking again is never the one forgotten."""
    table = SharedRates(buckets=1)
    for number in range(100):
        now = DAY + number * 3600 * NANOSECONDS
        assert admitted(table, f"name {number}", 9, now=now) == 5
        assert admitted(table, f"name {number}", 9, now=now) == 0
    table.close()


def test_a_damaged_table_harms_nobody_for_long() -> None:
    """Whatever a kill in the middle of a write leaves in the table, a caller waits an interval at most."""
    table = SharedRates(buckets=1)
    assert admitted(table, "a", 1) == 1
    for value in (2**63 - 1, -(2**63), 0, -1):
        table._fields[1] = table._fields[2] = value
        table.take("a", FIVE, now=DAY)
        assert table.take("a", FIVE, now=DAY + NANOSECONDS)[1] == 0
    table.close()


def test_programs_do_not_inherit_the_table() -> None:
    """A program that is started has no descriptor of it, as the fork server of the workers."""
    table = SharedRates()
    command = [sys.executable, "-c", "import os; os.system('ls -l /proc/self/fd')"]
    done = subprocess.run(command, close_fds=False, capture_output=True, check=True)
    assert b"gateway-rates" not in done.stdout
    assert "gateway-rates" in os.readlink(f"/proc/self/fd/{table._descriptor}")  # noqa: PTH115 - no path
    table.close()
