"""Reads the runs of whole experiments in pages, with bounds on their number and on concurrent reads."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import replace
from sys import intern
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache

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
_REJECTED_SECONDS: Final = 300.0
_MAX_REMEMBERED: Final = 1000

logger = logging.getLogger(__name__)


class RunReader:
    """A reader of all runs of experiments.

    Deleted runs are included, so that a run's number never changes. Concurrent calls for the same
    experiments share one read. At most two reads run at once after their first page, so an experiment
    of one page never waits for a larger one. An experiment with too many runs is rejected without a
    call for the next five minutes.
    """

    def __init__(self, client: MlflowClient, *, max_runs: int = MAX_RUNS) -> None:
        """Read at most `max_runs` runs per read, which may cover several experiments."""
        self._client = client
        self._max_runs = max_runs
        self._single_flight: SingleFlight[tuple[str, ...]] = SingleFlight()
        self._read_slots = asyncio.Semaphore(_MAX_CONCURRENT_READS)
        self._rejected: TTLCache[tuple[str, ...], bool] = TTLCache(_MAX_REMEMBERED, _REJECTED_SECONDS)

    async def read_index(self, experiment_id: str) -> RunIndex:
        """Return the index of one experiment's runs; raise TooManyRuns if there are too many."""
        found = await self._read_shared((experiment_id,))
        return found.get(experiment_id) or RunIndex()

    async def read_indexes(self, experiment_ids: Sequence[str]) -> dict[str, RunIndex | None]:
        """Return the index of each experiment that has runs, None for one that has too many."""
        found: dict[str, RunIndex | None] = {}
        for start in range(0, len(experiment_ids), _EXPERIMENTS_PER_READ):
            found |= await self._read_group(tuple(experiment_ids[start : start + _EXPERIMENTS_PER_READ]))
        return found

    async def read_runs(self, experiment_id: str) -> list[Run]:
        """Return the runs in the order of their numbers, with the fields of a version; raise TooManyRuns."""
        runs: list[Run] = []
        await self._read_pages((experiment_id,), lambda items: runs.extend(map(_strip_run, items)))
        await asyncio.to_thread(runs.sort, key=lambda run: (run.started, run.run_id))
        return runs

    async def close(self) -> None:
        """Cancel the running reads and wait for their end."""
        await self._single_flight.close()

    async def _read_group(self, ids: tuple[str, ...]) -> dict[str, RunIndex | None]:
        try:
            return {**await self._read_shared(ids)}
        except TooManyRuns:
            if len(ids) == 1:
                return {ids[0]: None}
        found: dict[str, RunIndex | None] = {}
        for experiment_id in ids:
            found |= await self._read_group((experiment_id,))
        return found

    async def _read_shared(self, ids: tuple[str, ...]) -> Mapping[str, RunIndex]:
        return await self._single_flight.do(ids, lambda: self._build_indexes(ids))

    async def _build_indexes(self, ids: tuple[str, ...]) -> Mapping[str, RunIndex]:
        found: defaultdict[str, RunIndex] = defaultdict(RunIndex)

        def add_runs(runs: Sequence[Run]) -> None:
            for run in runs:
                found[run.experiment_id].add(run)

        await self._read_pages(ids, add_runs)
        for index in found.values():
            await asyncio.to_thread(index.sort)
        return dict(found)

    async def _read_pages(self, ids: tuple[str, ...], on_page: Callable[[Sequence[Run]], None]) -> None:
        """Call `on_page` with one page after the other, in a thread: a page takes it milliseconds."""
        if ids in self._rejected:
            raise _too_many_error(self._max_runs)
        count = 0

        async def page(token: str) -> Page[Run]:
            nonlocal count
            found = await self._client.search_runs(ids, view="ALL", max_results=_PAGE_SIZE, token=token)
            count += len(found.items)
            if count > self._max_runs:
                self._record_too_many(ids)
                raise _too_many_error(self._max_runs)
            await asyncio.to_thread(on_page, found.items)
            return Page((), found.token)

        first = await page("")
        if first.token:
            async with self._read_slots:
                await all_pages(lambda token: page(token or first.token))

    def _record_too_many(self, ids: tuple[str, ...]) -> None:
        if len(ids) == 1:
            logger.warning(
                "Experiment %s has more than %d runs and is not read",
                ids[0],
                self._max_runs,
                extra={"event": "experiment_too_large", "experiment_id": ids[0], "max_runs": self._max_runs},
            )
        self._rejected[ids] = True


def _too_many_error(max_runs: int) -> TooManyRuns:
    return TooManyRuns(
        f"The experiment has more than {max_runs} runs, too many to be numbered: use a registered model."
    )


def _strip_run(run: Run) -> Run:
    # Interned, because each response would otherwise hold its own copy of the metric names.
    metrics = {intern(name): value for name, value in run.metrics.items()}
    tags = visible_tags(run.tags)
    return replace(run, name="", artifact_uri="", params={}, metrics=metrics, tags=tags, points={})
