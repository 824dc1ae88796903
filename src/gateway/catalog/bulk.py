"""Fetches many runs or logged models with few calls to MLflow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gateway.catalog import filters
from gateway.errors import NotFound
from gateway.mlflow_client import EndpointNotFound, RequestRejected, all_pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from gateway.mlflow_client import LoggedModel, MlflowClient, Page, Run

T = TypeVar("T")
A = TypeVar("A")

_CHUNK_SIZE = 100
_MAX_CONCURRENT_CALLS = 8


async def runs_by_id(client: MlflowClient, run_ids: Iterable[str]) -> dict[str, Run]:
    """Return the existing runs with these ids, including deleted ones.

    MLflow searches runs only within given experiments. So a few runs are fetched one by one, and
    most others are then found by a search in the experiments of these.
    """
    found: dict[str, Run] = {}
    missing = list(dict.fromkeys(run_id for run_id in run_ids if run_id))
    while missing:
        probes, missing = missing[:_MAX_CONCURRENT_CALLS], missing[_MAX_CONCURRENT_CALLS:]
        runs = [run for run in await gather_bounded(client.get_run, probes) if run is not None]
        found |= {run.run_id: run for run in runs}
        if missing and runs:
            found |= await _search_runs_by_id(client, sorted({run.experiment_id for run in runs}), missing)
            missing = [run_id for run_id in missing if run_id not in found]
    return found


async def _search_runs_by_id(
    client: MlflowClient, experiment_ids: list[str], run_ids: list[str]
) -> dict[str, Run]:
    async def search(chunk: Sequence[str]) -> list[Run]:
        filter_text = filters.id_in("attributes.run_id", chunk)

        async def page(token: str) -> Page[Run]:
            return await client.search_runs(experiment_ids, filter_text, view="ALL", token=token)

        return await all_pages(page) if filter_text else []

    found = await gather_bounded(search, list(_chunks(run_ids)))
    return {run.run_id: run for runs in found for run in runs or ()}


async def logged_models_by_id(
    client: MlflowClient, model_ids: Iterable[str], experiment_ids: Iterable[str]
) -> dict[str, LoggedModel]:
    """Return the existing logged models with these ids; an MLflow 2 server has none.

    Search `experiment_ids` first, then fetch the models that were not found one by one.
    """
    wanted = list(dict.fromkeys(model_id for model_id in model_ids if model_id))
    if not wanted:
        return {}
    found: dict[str, LoggedModel] = {}
    try:
        if len(wanted) > 1:
            found = await _search_logged_models_by_id(client, sorted(set(experiment_ids)), wanted)
        rest = await gather_bounded(client.get_logged_model, [each for each in wanted if each not in found])
    except EndpointNotFound:
        return {}
    return found | {model.model_id: model for model in rest if model is not None}


async def _search_logged_models_by_id(
    client: MlflowClient, experiment_ids: list[str], model_ids: list[str]
) -> dict[str, LoggedModel]:
    async def search(chunk: Sequence[str]) -> list[LoggedModel]:
        filter_text = filters.id_in("model_id", chunk)

        async def page(token: str) -> Page[LoggedModel]:
            return await client.search_logged_models(experiment_ids, filter_text, token=token)

        return await all_pages(page) if filter_text else []

    if not experiment_ids:
        return {}
    try:
        found = await gather_bounded(search, list(_chunks(model_ids)))
    except RequestRejected:
        # The search of early MLflow 3 servers does not support IN: the caller fetches one by one.
        return {}
    return {model.model_id: model for models in found for model in models or ()}


async def gather_bounded(call: Callable[[A], Awaitable[T]], arguments: Sequence[A]) -> list[T | None]:
    """Return the result of `call` for each argument, None if it raised NotFound; run a few at a time."""
    slots = asyncio.Semaphore(_MAX_CONCURRENT_CALLS)

    async def call_one(argument: A) -> T | None:
        async with slots:
            try:
                return await call(argument)
            except NotFound:
                return None

    tasks = [asyncio.ensure_future(call_one(argument)) for argument in arguments]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _chunks(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _CHUNK_SIZE):
        yield items[start : start + _CHUNK_SIZE]
