"""Which fault lasted when, and the slowest answer during each."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from tests.soak.asking import Asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from tests.soak.ledger import Ledger, Sample
    from tests.soak.meanings import Meanings
    from tests.soak.questions import Question
    from tests.soak.registry import Registry

QUIET: Final = "none"


@dataclass(slots=True)
class Phase:
    """A time with one fault, or with none."""

    kind: str
    since: float
    until: float = inf


@dataclass(slots=True)
class Phases:
    """All of them in order, and by kind: how often, the longest, the requests, the slowest right answer."""

    all: list[Phase] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def during(self, kind: str) -> Iterator[None]:
        """A phase of this kind, while the context lasts."""
        phase = Phase(kind, monotonic())
        self.all.append(phase)
        self.times[kind] += 1
        try:
            yield
        finally:
            phase.until = monotonic()
            self.longest[kind] = max(self.longest.get(kind, 0.0), phase.until - phase.since)

    def note(self, sample: Sample, *, right: bool) -> None:
        """Note an answer with each kind of fault that it overlaps; where there is none, with `QUIET`."""
        kinds = {one.kind for one in self.all if one.since <= sample.ended and one.until >= sample.began}
        for kind in kinds or {QUIET}:
            self.requests[kind] += 1
            if right:
                took = sample.ended - sample.began
                self.slowest[kind] = max(took, self.slowest.get(kind, 0.0))


class PhasedAsking(Asking):
    """A client of one gateway that notes each answer with the fault of its time."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        registry: Registry,
        *,
        url: str,
        meanings: Meanings,
        ledger: Ledger,
        phases: Phases,
    ) -> None:
        super().__init__(session, registry, url=url, meanings=meanings, ledger=ledger)
        self._phases = phases

    def judge(self, question: Question, sample: Sample) -> bool:
        """Whether the answer is the one that was asked for."""
        right = super().judge(question, sample)
        self._phases.note(sample, right=right and sample.status == 200)
        return right
