"""The runs of whole experiments, page by page: bounded in number, and in how many are read at once."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict
from dataclasses import replace
from sys import intern
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.catalog.run_index import RunIndex
from gateway.catalog.versions import visible_tags
from gateway.concurrency.singleflight import SingleFlight
from gateway.errors import TooManyRuns
from gateway.mlflow_client import Page, all_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.mlflow_client import MlflowClient, Run

MAX_RUNS: Final = 100_000
_PAGE_SIZE: Final = 1000
_EXPERIMENTS_PER_READ: Final = 50
_MAX_CONCURRENT_READS: Final = 2
_BACKOFF_SECONDS: Final = 300.0
_MAX_REMEMBERED: Final = 1000

logger = logging.getLogger(__name__)


class RunReader:
    """Reads all runs of experiments; deleted ones count, so that no number ever changes its meaning.

    Whoever asks for the same meanwhile gets the same read's outcome. Two reads go on at once beyond
    their first page: an experiment of one page waits for no larger one. What has too many runs is not
    read again for some minutes.
    """

    def __init__(self, client: MlflowClient, *, max_runs: int = MAX_RUNS) -> None:
        """`most` runs are read of one experiment, or of several together."""
        self._client = client
        self._max_runs = max_runs
        self._single_flight: SingleFlight[tuple[str, ...]] = SingleFlight()
        self._read_slots = asyncio.Semaphore(_MAX_CONCURRENT_READS)
        self._rejected_until: OrderedDict[tuple[str, ...], float] = OrderedDict()

    async def read_index(self, experiment_id: str) -> RunIndex:
        """Of one experiment; raises TooManyRuns."""
        found = await self._read_shared((experiment_id,))
        return found.get(experiment_id) or RunIndex()

    async def read_indexes(self, experiment_ids: Sequence[str]) -> dict[str, RunIndex | None]:
        """Of each experiment that has runs; None of one that has too many."""
        found: dict[str, RunIndex | None] = {}
        for start in range(0, len(experiment_ids), _EXPERIMENTS_PER_READ):
            found |= await self._read_group(tuple(experiment_ids[start : start + _EXPERIMENTS_PER_READ]))
        return found

    async def read_runs(self, experiment_id: str) -> list[Run]:
        """The runs in the order of their numbers, with what is told of a version; raises TooManyRuns."""
        runs: list[Run] = []
        await self._read_pages((experiment_id,), lambda items: runs.extend(map(_strip_run, items)))
        await asyncio.to_thread(runs.sort, key=lambda run: (run.started, run.run_id))
        return runs

    async def close(self) -> None:
        """End the reads that go on."""
        await self._single_flight.close()

    async def _read_group(self, ids: tuple[str, ...]) -> dict[str, RunIndex | None]:
        try:
            return {**await self._read_shared(ids)}
        except TooManyRuns:
            if len(ids) == 1:
                return {ids[0]: None}
        found: dict[str, RunIndex | None] = {}
        for one in ids:
            found |= await self._read_group((one,))
        return found

    async def _read_shared(self, ids: tuple[str, ...]) -> Mapping[str, RunIndex]:
        return await self._single_flight.do(ids, lambda: self._build_indexes(ids))

    async def _build_indexes(self, ids: tuple[str, ...]) -> Mapping[str, RunIndex]:
        found: defaultdict[str, RunIndex] = defaultdict(RunIndex)

        def take(items: Sequence[Run]) -> None:
            for run in items:
                found[run.experiment_id].add(run)

        await self._read_pages(ids, take)
        for ledger in found.values():
            await asyncio.to_thread(ledger.sort)
        return dict(found)

    async def _read_pages(self, ids: tuple[str, ...], take: Callable[[Sequence[Run]], None]) -> None:
        """Have `take` called in a thread with one page after the other; a thousand runs take milliseconds."""
        if monotonic() < self._rejected_until.get(ids, 0.0):
            raise _too_many_error(self._max_runs)
        count = 0

        async def page(token: str) -> Page[Run]:
            nonlocal count
            found = await self._client.search_runs(ids, view="ALL", max_results=_PAGE_SIZE, token=token)
            count += len(found.items)
            if count > self._max_runs:
                self._record_too_many(ids)
                raise _too_many_error(self._max_runs)
            await asyncio.to_thread(take, found.items)
            return Page((), found.token)

        first = await page("")
        if first.token:
            async with self._read_slots:
                await all_pages(lambda token: page(token or first.token))

    def _record_too_many(self, ids: tuple[str, ...]) -> None:
        if len(ids) == 1:
            logger.warning(
                "the experiment %s has more than %d runs: they are not read", ids[0], self._max_runs
            )
        self._rejected_until[ids] = monotonic() + _BACKOFF_SECONDS
        self._rejected_until.move_to_end(ids)
        if len(self._rejected_until) > _MAX_REMEMBERED:
            self._rejected_until.popitem(last=False)


def _too_many_error(most: int) -> TooManyRuns:
    return TooManyRuns(
        f"The experiment has more than {most} runs, too many to number them: ask for a registered model."
    )


def _strip_run(run: Run) -> Run:
    # Each reply has its own copy of a metric's name, which all runs share.
    metrics = {intern(name): value for name, value in run.metrics.items()}
    return replace(run, name="", artifact_uri="", params={}, metrics=metrics, tags=visible_tags(run.tags))
