"""Asks the gateway, judges every answer, and keeps what was wrong."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from tests.soak.ledger import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.soak.ledger import Ledger
    from tests.soak.meanings import Meanings
    from tests.soak.questions import Question
    from tests.soak.registry import Registry

_SHOWN = 300
_MOST_KEPT = 200


@dataclass(slots=True)
class Tallies:
    """What has been answered so far."""

    statuses: Counter[int] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    wrong: int = 0
    complaints: list[str] = field(default_factory=list)
    pauses: dict[str, float] = field(default_factory=dict)
    longest_pause: tuple[float, str] = (0.0, "")

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(self.statuses.values())


class Asking:
    """A client of the gateway that all askers share."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        registry: Registry,
        *,
        url: str,
        meanings: Meanings,
        ledger: Ledger,
    ) -> None:
        self.url = URL(url)
        self._session = session
        self._registry = registry
        self._meanings = meanings
        self._ledger = ledger
        self._asked: Counter[tuple[str, str]] = Counter()
        self._began = monotonic()
        self.tallies = Tallies()

    async def ask(self, question: Question) -> bool:
        """Ask, and judge the answer; whether it is the one that was asked for."""
        body, headers = question.message()
        with self.counted(question):
            sample = await self.sent(question, body, headers)
        return self.judge(question, sample)

    async def sent(self, question: Question, body: bytes, headers: Mapping[str, str]) -> Sample:
        """What is answered to this body."""
        began = monotonic()
        try:
            async with self._session.post(question.path, data=body, headers=dict(headers)) as answer:
                status, text = answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status, text = 0, repr(error)
        return Sample(question.name, question.ref, began, monotonic(), status, text)

    def judge(self, question: Question, sample: Sample) -> bool:
        """Whether the answer is the one that was asked for; one that nothing explains is kept."""
        tallies = self.tallies
        tallies.statuses[sample.status] += 1
        problem = ""
        right = sample.status in question.expected
        if sample.status == 200:
            problem = self._problem(question, sample)
            right = right and not problem
        if right:
            self._note_right(sample)
            return True
        tallies.pauses.setdefault(sample.name, sample.began)
        if sample.status != 200 and (kind := self._explained(sample)):
            tallies.explained[kind] += 1
        else:
            self.complain(sample, problem or "nothing explains it")
        return False

    def complain(self, sample: Sample, problem: str) -> None:
        """Note what is wrong, with everything that helps to find out why."""
        at, took = sample.began - self._began, sample.ended - sample.began
        active = "; ".join(self._ledger.active(since=sample.began - 10, until=sample.ended)) or "none"
        spans = self._meanings.possible(sample.name, sample.ref, began=sample.began, ended=sample.ended)
        may = ", ".join(f"{span.version or 'absent'} ({span.label})" for span in spans)
        asked = f"{sample.name}/{sample.ref}"
        line = (
            f"at {at:.2f} s, after {took:.2f} s: {asked} answered {sample.status}: {problem}"
            f"; it may be {may or 'nothing'}; body: {sample.text[:_SHOWN]}; faults: {active}"
        )
        self.tallies.wrong += 1
        if len(self.tallies.complaints) < _MOST_KEPT:
            self.tallies.complaints.append(line)

    @contextmanager
    def counted(self, question: Question) -> Iterator[None]:
        """Count the question among those that are asked at this time."""
        key = (question.name, question.ref)
        self._asked[key] += 1
        self._ledger.crowd(len(self._asked), at=monotonic())
        try:
            yield
        finally:
            self._asked[key] -= 1
            if not self._asked[key]:
                del self._asked[key]

    def _problem(self, question: Question, sample: Sample) -> str:
        """What is wrong with an answer of status 200; empty where it is right."""
        try:
            name, version, predictions = question.said(json.loads(sample.text))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return f"it cannot be read: {error!r}"
        if name != question.name:
            return f"another model answered: {name}"
        possible = self._meanings.possible(
            question.name, question.ref, began=sample.began, ended=sample.ended
        )
        named = [span for span in possible if span.version == version]
        if not named:
            return f"version {version} answered"
        artifacts = self._registry.artifacts
        by = [span for span in named if question.right(predictions, artifacts[span.label])]
        if not by:
            return f"version {version} does not answer so: {predictions[:3]}"
        self._meanings.answered(question.name, question.ref, by, ended=sample.ended)
        return ""

    def _explained(self, sample: Sample) -> str | None:
        if sample.status == 404:
            spans = self._meanings.possible(sample.name, sample.ref, began=sample.began, ended=sample.ended)
            absent = [span for span in spans if not span.version]
            if absent:
                self._meanings.answered(sample.name, sample.ref, absent, ended=sample.ended)
                return "deleted"
        return self._ledger.explain(sample, known=self._meanings.known(sample.name, sample.ref))

    def _note_right(self, sample: Sample) -> None:
        tallies = self.tallies
        if sample.status == 200:
            self._ledger.note_right(sample)
            tallies.slowest = max(tallies.slowest, sample.ended - sample.began)
        since = tallies.pauses.pop(sample.name, None)
        if since is not None:
            tallies.longest_pause = max(tallies.longest_pause, (sample.ended - since, sample.name))
