"""The summary of a soak over a fleet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.soak.measure import MIB
from tests.soak.report import table

if TYPE_CHECKING:
    from tests.soak.asking import Tallies
    from tests.soak.fleet.phases import Phases
    from tests.soak.measure import Measured
    from tests.soak.options import Options


@dataclass(slots=True)
class FleetOutcome:
    """All that the summary tells; `tallies` are by gateway, `before` and `after` by process."""

    options: Options
    tallies: list[Tallies]
    phases: Phases
    seconds: float = 0.0
    before: dict[str, Measured] = field(default_factory=dict)
    after: dict[str, Measured] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems and not self.wrong

    @property
    def wrong(self) -> int:
        """The answers that were wrong or that nothing explains."""
        return sum(tallies.wrong for tallies in self.tallies)

    @property
    def requests(self) -> int:
        """The requests to all gateways."""
        return sum(tallies.requests for tallies in self.tallies)


def progress(left: float, outcome: FleetOutcome) -> str:
    """Where the soak is."""
    faults = outcome.phases.times.total()
    return f"{left:5.0f} s left; {outcome.requests} requests; {faults} faults; {outcome.wrong} unexplained"


def summary(outcome: FleetOutcome) -> str:
    """The whole story in Markdown."""
    phases = outcome.phases
    tallies = list(enumerate(outcome.tallies))
    lines = [
        "# Soak over a fleet",
        "",
        _story(outcome),
        "",
        *table(
            ("gateway", "status", "requests"),
            [(n, status, many) for n, one in tallies for status, many in sorted(one.statuses.items())],
        ),
        *table(
            ("gateway", "explained by", "answers"),
            [(n, kind, many) for n, one in tallies for kind, many in sorted(one.explained.items())],
        ),
        *table(
            ("fault", "times", "longest until well, s", "requests", "slowest right answer, s"),
            [_phase(phases, kind) for kind in sorted(phases.requests | phases.times)],
        ),
        *table(("counted by the gateways", "total"), list(outcome.counters.items())),
        *_comparison(outcome),
        "All is well." if outcome.well else "What is wrong:",
        "",
        *(f"- {problem}" for problem in outcome.problems),
        *(f"- gateway {n}: {complaint}" for n, one in tallies for complaint in one.complaints),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _story(outcome: FleetOutcome) -> str:
    options = outcome.options
    return (
        f"{outcome.seconds:.0f} s, seed {options.seed}, {options.clients} clients of each gateway: "
        f"{outcome.requests} requests, {outcome.phases.times.total()} faults, {outcome.wrong} answers that "
        "were wrong or that nothing explains."
    )


def _phase(phases: Phases, kind: str) -> tuple[object, ...]:
    longest, slowest = phases.longest.get(kind), phases.slowest.get(kind)
    return (
        kind.replace("_", " "),
        phases.times[kind] or "-",
        "-" if longest is None else f"{longest:.1f}",
        phases.requests[kind],
        "-" if slowest is None else f"{slowest:.2f}",
    )


def _comparison(outcome: FleetOutcome) -> list[str]:
    head = (
        "at rest: before, after",
        "processes below",
        "descriptors",
        "tasks",
        "PSS of all, MiB",
        "RSS, MiB",
    )
    rows = [
        (name, *(f"{was}, {now}" for was, now in zip(_cells(before), _cells(after), strict=True)))
        for name, before in outcome.before.items()
        if (after := outcome.after.get(name)) is not None
    ]
    return table(head, rows)


def _cells(one: Measured) -> tuple[object, ...]:
    tasks = "-" if one.tasks is None else one.tasks
    return one.processes, one.descriptors, tasks, one.pss // MIB, one.rss // MIB
