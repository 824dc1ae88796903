"""One run of the benchmark: the stage, the servers that are up now, and measuring them in turn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.bodies import predictions, same
from benchmarks.contenders import CONTENDERS, GATEWAY
from benchmarks.load import Measured, measure, median
from benchmarks.results import P50, P99, PER_SECOND, SPREAD, Results, Row, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from benchmarks.bodies import Body
    from benchmarks.contenders import Contender
    from benchmarks.stage import Stage
    from benchmarks.starts import Running

WARM_SECONDS = 2.0  # a worker's first two seconds under load are slower by a third
WARM_CONNECTIONS = 16
FEWEST = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    quick: bool
    rounds: int
    seconds: float
    connections: tuple[int, ...]

    @property
    def long_seconds(self) -> float:
        """What a measurement takes whose requests take seconds."""
        return self.seconds if self.quick else 2 * self.seconds


@dataclass(slots=True)
class Bench:
    """What scenarios measure with."""

    stage: Stage
    folder: Path
    options: Options
    results: Results
    _up: ExitStack = field(default_factory=ExitStack)
    _model: str | None = None
    _servers: dict[str, Running] = field(default_factory=dict)

    def contenders(self) -> list[Contender]:
        """Those that can be measured here, and are worth it."""
        chosen = [one for one in CONTENDERS if one.brief or not self.options.quick]
        return [one for one in chosen if one.missing() is None]

    def servers(self, model: str, contenders: Iterable[Contender]) -> dict[str, Running]:
        """These contenders with this model, started, warmed, and in agreement.

        Those that are up with it already are used as they are; where one is missing all are started anew.
        """
        wanted = list(contenders)
        names = [one.name for one in wanted]
        if self._model != model or not self._servers.keys() >= set(names):
            self.clear()
            self._servers = self._start(model, wanted)
            self._model = model
            self.agree(self._servers, self.stage.body(1))
            for server in self._servers.values():
                self.warm(server)
        return {name: self._servers[name] for name in names}

    def _start(self, model: str, contenders: list[Contender]) -> dict[str, Running]:
        """Two at a time, since most of a start is one core's work."""
        say(f"starting {', '.join(one.name for one in contenders)} with {model} …")
        with ThreadPoolExecutor(2) as threads:
            starting = {
                one.name: threads.submit(self._up.enter_context, one.start(self.stage, model, self.folder))
                for one in contenders
            }
        return {name: future.result() for name, future in starting.items()}

    def clear(self) -> None:
        """End all servers that are up."""
        self._model = None
        self._servers = {}
        self._up.close()

    def agree(self, servers: Mapping[str, Running], body: Body) -> None:
        """Have all but the echo answer alike. Raises RuntimeError where one does not."""
        known = {one.name: one.role for one in CONTENDERS}
        answers = {
            name: predictions(server.url, body, server.form)
            for name, server in servers.items()
            if known[name] != "floor"
        }
        reference = answers.get(GATEWAY, next(iter(answers.values())))
        wrong = [name for name, answer in answers.items() if not same(answer, reference)]
        if wrong:
            raise RuntimeError(f"the answers to {body.rows} rows differ: {', '.join(wrong)}")

    def warm(self, server: Running, url: str | None = None) -> None:
        """Load that is not measured, at the server's own address or another."""
        body = self.stage.body(1)
        self.measure(server, body, connections=WARM_CONNECTIONS, seconds=WARM_SECONDS, url=url)

    def measure(
        self, server: Running, body: Body, *, connections: int, seconds: float, url: str | None = None
    ) -> Measured:
        """What one server does with a body, at its own address or another."""
        return measure(
            url or server.url,
            body.forms[server.form],
            connections=connections,
            seconds=seconds,
            folder=self.folder,
        )

    def in_turn(
        self, servers: Mapping[str, Running], body: Body, *, connections: int, seconds: float
    ) -> dict[str, Measured]:
        """The medians of rounds in which each server has its turn, so that a noisy minute hits all."""
        rounds: dict[str, list[Measured]] = {name: [] for name in servers}
        for _ in range(self.options.rounds):
            for name, server in servers.items():
                rounds[name].append(self.measure(server, body, connections=connections, seconds=seconds))
        return {name: median(measured) for name, measured in rounds.items()}

    def add(self, scenario: str, case: str, measured: Mapping[str, Measured]) -> None:
        """Keep what `in_turn` found."""
        for name, one in measured.items():
            self.results.add(Row(scenario, case, name, figures(one), one.failed, doubt(one)))


def figures(measured: Measured) -> dict[str, float]:
    """What a row says of it; one round alone has no spread."""
    spread = {SPREAD: 100 * measured.spread} if measured.spread else {}
    return {PER_SECOND: measured.per_second, P50: measured.p50, P99: measured.p99, **spread}


def doubt(measured: Measured) -> str:
    """Why wrk's figure is not one to rely on, or an empty text.

    What is under way when the time is up is not counted: of few answers per connection that is much.
    """
    return f"only {measured.turns:.1f} answers per connection" if measured.turns < FEWEST else ""
