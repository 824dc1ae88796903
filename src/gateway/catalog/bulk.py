"""Many runs or logged models in few calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gateway.catalog import filters
from gateway.errors import NotFound
from gateway.mlflow_client import EndpointNotFound, RequestRejected, all_pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.mlflow_client import LoggedModel, MlflowClient, Page, Run, Version

T = TypeVar("T")
A = TypeVar("A")

_CHUNK_SIZE = 100
_MAX_CONCURRENT_CALLS = 8


async def runs_by_id(client: MlflowClient, run_ids: Iterable[str]) -> dict[str, Run]:
    """The runs there are of these ids, deleted ones too.

    MLflow searches runs by experiment only: the experiments of a few runs are asked for one by
    one, and most others are then found in the same experiments by search.
    """
    found: dict[str, Run] = {}
    waiting = list(dict.fromkeys(run_id for run_id in run_ids if run_id))
    while waiting:
        probes, waiting = waiting[:_MAX_CONCURRENT_CALLS], waiting[_MAX_CONCURRENT_CALLS:]
        runs = [run for run in await gather_bounded(client.get_run, probes) if run is not None]
        found |= {run.run_id: run for run in runs}
        if waiting and runs:
            found |= await _search_runs_by_id(client, sorted({run.experiment_id for run in runs}), waiting)
            waiting = [run_id for run_id in waiting if run_id not in found]
    return found


async def _search_runs_by_id(
    client: MlflowClient, experiment_ids: list[str], run_ids: list[str]
) -> dict[str, Run]:
    async def search(chunk: Sequence[str]) -> list[Run]:
        text = filters.id_in("attributes.run_id", chunk)

        async def page(token: str) -> Page[Run]:
            return await client.search_runs(experiment_ids, text, view="ALL", token=token)

        return await all_pages(page) if text else []

    found = await gather_bounded(search, list(_chunks(run_ids)))
    return {run.run_id: run for runs in found for run in runs or ()}


async def logged_models_by_id(
    client: MlflowClient, model_ids: Iterable[str], experiment_ids: Iterable[str]
) -> dict[str, LoggedModel]:
    """The models of MLflow 3 there are of these ids; none from a server of MLflow 2.

    They are searched in `experiment_ids`; what is not there is asked for one by one.
    """
    wanted = list(dict.fromkeys(model_id for model_id in model_ids if model_id))
    if not wanted:
        return {}
    found: dict[str, LoggedModel] = {}
    try:
        if len(wanted) > 1:
            found = await _search_logged_models_by_id(client, sorted(set(experiment_ids)), wanted)
        rest = await gather_bounded(client.get_logged_model, [one for one in wanted if one not in found])
    except EndpointNotFound:
        return {}
    return found | {model.model_id: model for model in rest if model is not None}


async def _search_logged_models_by_id(
    client: MlflowClient, experiment_ids: list[str], model_ids: list[str]
) -> dict[str, LoggedModel]:
    async def search(chunk: Sequence[str]) -> list[LoggedModel]:
        text = filters.id_in("model_id", chunk)

        async def page(token: str) -> Page[LoggedModel]:
            return await client.search_logged_models(experiment_ids, text, token=token)

        return await all_pages(page) if text else []

    if not experiment_ids:
        return {}
    try:
        found = await gather_bounded(search, list(_chunks(model_ids)))
    except RequestRejected:
        # An early MLflow 3 whose search does not know IN: ask one by one.
        return {}
    return {model.model_id: model for models in found for model in models or ()}


async def version_metrics(
    client: MlflowClient, versions: Sequence[Version]
) -> dict[str, Mapping[str, float]]:
    """The metrics of registered versions, by version number.

    A metric of the logged model wins over its run's. The run's others count too, since MLflow
    links to a model only what was logged before it; not where the run has several models.
    """
    runs = await runs_by_id(client, (version.run_id for version in versions))
    experiment_ids = {run.experiment_id for run in runs.values()}
    logged = await logged_models_by_id(client, (version.model_id for version in versions), experiment_ids)
    found: dict[str, Mapping[str, float]] = {}
    for version in versions:
        run, model = runs.get(version.run_id), logged.get(version.model_id)
        own = model.metrics if model is not None else {}
        shared = run is not None and len(run.outputs) > 1
        others = run.metrics if run is not None and not (own and shared) else {}
        found[version.version] = {**others, **own}
    return found


async def gather_bounded(call: Callable[[A], Awaitable[T]], arguments: Sequence[A]) -> list[T | None]:
    """`call` of each argument, a few at a time; None where MLflow knows nothing of it."""
    gate = asyncio.Semaphore(_MAX_CONCURRENT_CALLS)

    async def one(argument: A) -> T | None:
        async with gate:
            try:
                return await call(argument)
            except NotFound:
                return None

    tasks = [asyncio.ensure_future(one(argument)) for argument in arguments]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _chunks(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _CHUNK_SIZE):
        yield items[start : start + _CHUNK_SIZE]
