"""What is said on the way, and the summary at the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.soak.measure import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.soak.asking import Tallies
    from tests.soak.measure import Measured
    from tests.soak.options import Options
    from tests.soak.trouble import Struck

_BAR: Final = 30
_MOST_ROWS: Final = 60


@dataclass(slots=True)
class Outcome:
    """All that the summary tells; the soak went well where there are no `problems` and no complaints."""

    options: Options
    tallies: Tallies
    struck: dict[str, Struck]
    seconds: float = 0.0
    before: Measured | None = None
    after: Measured | None = None
    samples: list[tuple[float, Measured]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems and not self.tallies.wrong


def say(text: str) -> None:
    """Return one line for a person who watches."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def progress(left: float, outcome: Outcome) -> str:
    """Where the soak is: a bar on a terminal."""
    whole, tallies = outcome.options.seconds, outcome.tallies
    done = min(1.0, max(0.0, 1 - left / whole))
    filled = int(done * _BAR)
    bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] " if sys.stderr.isatty() else ""
    statuses = " ".join(f"{status}:{many}" for status, many in sorted(tallies.statuses.items()))
    faults = sum(struck.times for struck in outcome.struck.values())
    memory = f"{outcome.samples[-1][1].rss // MIB} MiB" if outcome.samples else "-"
    return (
        f"{bar}{left:5.0f} s left; {tallies.requests} requests ({statuses}); {faults} faults; "
        f"gateway {memory}; {tallies.wrong} unexplained"
    )


def summary(outcome: Outcome) -> str:
    """The whole story in Markdown."""
    tallies = outcome.tallies
    lines = [
        "# Soak",
        "",
        _story(outcome),
        "",
        *table(("status", "requests"), sorted(tallies.statuses.items())),
        *table(("explained by", "answers"), sorted(tallies.explained.items())),
        *table(
            ("fault", "times", "longest until well, s"),
            [(kind, one.times, _seconds(one.longest)) for kind, one in sorted(outcome.struck.items())],
        ),
        *_comparison(outcome),
        *table(("second", "processes", "descriptors", "tasks", "PSS, MiB", "RSS, MiB"), _course(outcome)),
    ]
    wrong = [*outcome.problems, *tallies.complaints]
    lines += [
        "All is well." if outcome.well else "What is wrong:",
        "",
        *(f"- {problem}" for problem in wrong),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _story(outcome: Outcome) -> str:
    options, tallies = outcome.options, outcome.tallies
    faults = sum(struck.times for struck in outcome.struck.values())
    pause, who = tallies.longest_pause
    return (
        f"{outcome.seconds:.0f} s, seed {options.seed}, {options.clients} clients: "
        f"{tallies.requests} requests, {faults} faults, {tallies.wrong} answers that were wrong or that "
        f"nothing explains. The slowest right answer took {tallies.slowest:.1f} s; the longest that a model "
        f"had no right answer was {pause:.1f} s ({who or 'none'})."
    )


def _comparison(outcome: Outcome) -> list[str]:
    before, after = outcome.before, outcome.after
    if before is None or after is None:
        return []
    rows = [
        ("processes below the gateway", before.processes, after.processes),
        ("open descriptors", before.descriptors, after.descriptors),
        ("asyncio tasks", _or_dash(before.tasks), _or_dash(after.tasks)),
        ("PSS of all, MiB", before.pss // MIB, after.pss // MIB),
        ("RSS of the gateway, MiB", before.rss // MIB, after.rss // MIB),
    ]
    return table(("at rest", "before", "after"), rows)


def _course(outcome: Outcome) -> list[tuple[object, ...]]:
    step = max(1, -(-len(outcome.samples) // _MOST_ROWS))
    return [
        (f"{at:.0f}", m.processes, m.descriptors, _or_dash(m.tasks), m.pss // MIB, m.rss // MIB)
        for at, m in outcome.samples[::step]
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table in Markdown, and an empty one; none where there are no rows."""
    if not rows:
        return []
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(map(str, line))} |" for line in lines), ""]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _or_dash(value: int | None) -> object:
    return "-" if value is None else value
