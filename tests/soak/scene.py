"""What a fault can lay its hands on, and how it waits until all is well again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from tests.soak.ledger import Window
from tests.soak.questions import Question, question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from tests.soak.asking import Asking
    from tests.soak.ledger import Ledger
    from tests.soak.meanings import Meanings
    from tests.soak.options import Options
    from tests.soak.registry import Model, Registry
    from tests.soak.stage import Stage

_PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Scene:
    """The stage, the models and the load, and the books in which a fault is noted."""

    stage: Stage
    registry: Registry
    asking: Asking
    meanings: Meanings
    ledger: Ledger
    options: Options
    rng: Random
    popular: Callable[[], Iterable[Model]]

    def model(self, start: str) -> Model:
        """One of those whose name begins so, rather a popular one; none that a fault changes just now."""
        free = [model for model in self.registry.of_kind(start) if not model.lock.locked()]
        asked = [model for model in free if model in self.popular()]
        return self.rng.choice(asked or free)

    def window(
        self,
        kind: str,
        statuses: Iterable[int],
        *,
        seconds: float,
        model: Model | None = None,
        unknown_only: bool = False,
        forgets: bool = False,
        quiet: float = 0.5,
    ) -> Window:
        """Note a fault that begins now."""
        names = frozenset() if model is None else frozenset({model.name})
        now = monotonic()
        window = Window(kind, frozenset(statuses), now, now + seconds, names)
        window.unknown_only, window.forgets, window.quiet = unknown_only, forgets, quiet
        return self.ledger.open(window)

    async def pid(self, model: Model) -> int | None:
        """Return the process id of the `commands` model's worker, or None if it does not answer."""
        asked = Question(model.name, "latest", words=("x",))
        body, headers = asked.message()
        with self.asking.counted(asked):
            sample = await self.asking.sent(asked, body, headers)
        if not self.asking.judge(asked, sample):
            return None
        return int(sample.text.partition("[")[2].partition("]")[0])

    async def well(self, model: Model) -> float:
        """Wait until the model answers; the seconds that took. TimeoutError where it does not."""
        began = monotonic()
        async with asyncio.timeout(self.options.patience):
            while not await self.asking.ask(question(model.name, "latest", kind=model.kind, rng=self.rng)):  # noqa: ASYNC110 - only an answer tells
                await asyncio.sleep(_PAUSE_SECONDS)
        return monotonic() - began

    async def taken_up(self, model: Model, refs: Iterable[str]) -> float:
        """Wait until each reference means to the gateway what it means to MLflow; the seconds that took."""
        began = monotonic()
        async with asyncio.timeout(self.options.patience):
            for ref in refs:
                while not self.meanings.settled(model.name, ref, now=monotonic()):
                    await self.asking.ask(question(model.name, ref, kind=model.kind, rng=self.rng))
                    await asyncio.sleep(_PAUSE_SECONDS)
        return monotonic() - began
