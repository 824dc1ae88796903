"""The runs of whole experiments, page by page: bounded in number, and in how many are read at once."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict
from dataclasses import replace
from sys import intern
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.catalog.run_index import Ledger
from gateway.catalog.versions import told_tags
from gateway.concurrency.singleflight import Once
from gateway.errors import TooManyRuns
from gateway.mlflow_client import Page, every

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.mlflow_client import MlflowClient, Run

RUNS_AT_MOST: Final = 100_000
_PAGE: Final = 1000
_TOGETHER: Final = 50
_READS_AT_ONCE: Final = 2
_REST_SECONDS: Final = 300.0
_MOST_REMEMBERED: Final = 1000

logger = logging.getLogger(__name__)


class Runs:
    """Reads all runs of experiments; deleted ones count, so that no number ever changes its meaning.

    Whoever asks for the same meanwhile gets the same read's outcome. Two reads go on at once beyond
    their first page: an experiment of one page waits for no larger one. What has too many runs is not
    read again for some minutes.
    """

    def __init__(self, client: MlflowClient, *, most: int = RUNS_AT_MOST) -> None:
        """`most` runs are read of one experiment, or of several together."""
        self._client = client
        self._most = most
        self._once: Once[tuple[str, ...]] = Once()
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._too_many: OrderedDict[tuple[str, ...], float] = OrderedDict()

    async def ledger(self, experiment_id: str) -> Ledger:
        """Of one experiment; raises TooManyRuns."""
        found = await self._shared((experiment_id,))
        return found.get(experiment_id) or Ledger()

    async def ledgers(self, experiment_ids: Sequence[str]) -> dict[str, Ledger | None]:
        """Of each experiment that has runs; None of one that has too many."""
        found: dict[str, Ledger | None] = {}
        for start in range(0, len(experiment_ids), _TOGETHER):
            found |= await self._several(tuple(experiment_ids[start : start + _TOGETHER]))
        return found

    async def whole(self, experiment_id: str) -> list[Run]:
        """The runs in the order of their numbers, with what is told of a version; raises TooManyRuns."""
        runs: list[Run] = []
        await self._read((experiment_id,), lambda items: runs.extend(map(_told, items)))
        await asyncio.to_thread(runs.sort, key=lambda run: (run.started, run.run_id))
        return runs

    async def close(self) -> None:
        """End the reads that go on."""
        await self._once.close()

    async def _several(self, ids: tuple[str, ...]) -> dict[str, Ledger | None]:
        try:
            return {**await self._shared(ids)}
        except TooManyRuns:
            if len(ids) == 1:
                return {ids[0]: None}
        found: dict[str, Ledger | None] = {}
        for one in ids:
            found |= await self._several((one,))
        return found

    async def _shared(self, ids: tuple[str, ...]) -> Mapping[str, Ledger]:
        return await self._once.do(ids, lambda: self._gathered(ids))

    async def _gathered(self, ids: tuple[str, ...]) -> Mapping[str, Ledger]:
        found: defaultdict[str, Ledger] = defaultdict(Ledger)

        def take(items: Sequence[Run]) -> None:
            for run in items:
                found[run.experiment_id].add(run)

        await self._read(ids, take)
        for ledger in found.values():
            await asyncio.to_thread(ledger.sort)
        return dict(found)

    async def _read(self, ids: tuple[str, ...], take: Callable[[Sequence[Run]], None]) -> None:
        """Have `take` called in a thread with one page after the other; a thousand runs take milliseconds."""
        if monotonic() < self._too_many.get(ids, 0.0):
            raise _too_many(self._most)
        count = 0

        async def page(token: str) -> Page[Run]:
            nonlocal count
            found = await self._client.search_runs(ids, view="ALL", max_results=_PAGE, token=token)
            count += len(found.items)
            if count > self._most:
                self._note(ids)
                raise _too_many(self._most)
            await asyncio.to_thread(take, found.items)
            return Page((), found.token)

        first = await page("")
        if first.token:
            async with self._reads:
                await every(lambda token: page(token or first.token))

    def _note(self, ids: tuple[str, ...]) -> None:
        if len(ids) == 1:
            logger.warning("the experiment %s has more than %d runs: they are not read", ids[0], self._most)
        self._too_many[ids] = monotonic() + _REST_SECONDS
        self._too_many.move_to_end(ids)
        if len(self._too_many) > _MOST_REMEMBERED:
            self._too_many.popitem(last=False)


def _too_many(most: int) -> TooManyRuns:
    return TooManyRuns(
        f"The experiment has more than {most} runs, too many to number them: ask for a registered model."
    )


def _told(run: Run) -> Run:
    # Each reply has its own copy of a metric's name, which all runs share.
    metrics = {intern(name): value for name, value in run.metrics.items()}
    return replace(run, name="", artifact_uri="", params={}, metrics=metrics, tags=told_tags(run.tags))
