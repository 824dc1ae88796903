"""The mixed load: clients that ask without end, mostly for a few models that change by and by."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.soak.odd import Odd
from tests.soak.questions import question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random

    from tests.soak.asking import Asking
    from tests.soak.meanings import Meanings
    from tests.soak.options import Options
    from tests.soak.registry import Model, Registry

_POPULAR: Final = 3
_FAITHFUL: Final = 0.99  # the share of requests that goes to popular models
_ODD: Final = 0.03
_THINK_SECONDS: Final = 0.15
_FASHION_SECONDS: Final = 10.0


class Load:
    """Who is asked, and by whom."""

    def __init__(
        self, asking: Asking, registry: Registry, *, meanings: Meanings, options: Options, rng: Random
    ) -> None:
        self._asking = asking
        self._models = list(registry.models.values())
        self._meanings = meanings
        self._options = options
        self._rng = rng
        self._odd = Odd(asking, rng=rng, max_body=options.max_body)
        rng.shuffle(self._models)
        self.popular = self._models[:_POPULAR]

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """The load, while the context lasts; what was asked by its end is answered."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.clients):
                group.create_task(self._client(stop))
            group.create_task(self._fashion(stop))
            try:
                yield
            finally:
                stop.set()

    async def ask_all(self) -> list[str]:
        """Ask every model once; the names of those that did not answer rightly."""
        room = asyncio.Semaphore(self._options.max_loaded // 3)

        async def one(model: Model) -> str:
            async with room:
                right = await self._asking.ask(question(model.name, "latest", kind=model.kind, rng=self._rng))
            return "" if right else model.name

        return [name for name in await asyncio.gather(*map(one, self._models)) if name]

    async def _client(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            model = self._rng.choice(self.popular if self._rng.random() < _FAITHFUL else self._models)
            refs = self._meanings.refs(model.name)
            if refs and self._rng.random() < _ODD:
                await self._odd.act(model, self._rng.choice(refs))
            elif refs:
                asked = question(model.name, self._rng.choice(refs), kind=model.kind, rng=self._rng)
                await self._asking.ask(asked)
            await asyncio.sleep(self._rng.expovariate(1 / _THINK_SECONDS))

    async def _fashion(self, stop: asyncio.Event) -> None:
        """Every few seconds another model becomes popular, and one is no more."""
        at = _POPULAR
        while not stop.is_set():
            await _passed(stop, _FASHION_SECONDS)
            self.popular = [*self.popular[1:], self._models[at % len(self._models)]]
            at += 1


async def _passed(stop: asyncio.Event, seconds: float) -> None:
    """So much time, or less where `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
