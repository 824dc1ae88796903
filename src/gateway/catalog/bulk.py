"""Many runs or logged models in few calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gateway.catalog import filters
from gateway.errors import NotFound
from gateway.mlflow_client import CallRefused, CallUnknown, every

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.mlflow_client import LoggedModel, MlflowClient, Page, Run, Version

T = TypeVar("T")
A = TypeVar("A")

_CHUNK = 100
_AT_ONCE = 8


async def runs_by_id(client: MlflowClient, run_ids: Iterable[str]) -> dict[str, Run]:
    """The runs there are of these ids, deleted ones too.

    MLflow searches runs by experiment only: the experiments of a few runs are asked for one by
    one, and most others are then found in the same experiments by search.
    """
    found: dict[str, Run] = {}
    waiting = list(dict.fromkeys(run_id for run_id in run_ids if run_id))
    while waiting:
        probes, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        runs = [run for run in await together(client.run, probes) if run is not None]
        found |= {run.run_id: run for run in runs}
        if waiting and runs:
            found |= await _runs_in(client, sorted({run.experiment_id for run in runs}), waiting)
            waiting = [run_id for run_id in waiting if run_id not in found]
    return found


async def _runs_in(client: MlflowClient, experiment_ids: list[str], run_ids: list[str]) -> dict[str, Run]:
    async def search(chunk: Sequence[str]) -> list[Run]:
        text = filters.among("attributes.run_id", chunk)

        async def page(token: str) -> Page[Run]:
            return await client.search_runs(experiment_ids, text, view="ALL", token=token)

        return await every(page) if text else []

    found = await together(search, list(_chunks(run_ids)))
    return {run.run_id: run for runs in found for run in runs or ()}


async def logged_by_id(
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
            found = await _logged_in(client, sorted(set(experiment_ids)), wanted)
        rest = await together(client.logged_model, [one for one in wanted if one not in found])
    except CallUnknown:
        return {}
    return found | {model.model_id: model for model in rest if model is not None}


async def _logged_in(
    client: MlflowClient, experiment_ids: list[str], model_ids: list[str]
) -> dict[str, LoggedModel]:
    async def search(chunk: Sequence[str]) -> list[LoggedModel]:
        text = filters.among("model_id", chunk)

        async def page(token: str) -> Page[LoggedModel]:
            return await client.search_logged_models(experiment_ids, text, token=token)

        return await every(page) if text else []

    if not experiment_ids:
        return {}
    try:
        found = await together(search, list(_chunks(model_ids)))
    except CallRefused:
        # An early MLflow 3 whose search does not know IN: ask one by one.
        return {}
    return {model.model_id: model for models in found for model in models or ()}


async def metrics(client: MlflowClient, versions: Sequence[Version]) -> dict[str, Mapping[str, float]]:
    """The metrics of registered versions, by version number.

    A metric of the logged model wins over its run's. The run's others count too, since MLflow
    links to a model only what was logged before it; not where the run has several models.
    """
    runs = await runs_by_id(client, (version.run_id for version in versions))
    experiment_ids = {run.experiment_id for run in runs.values()}
    logged = await logged_by_id(client, (version.model_id for version in versions), experiment_ids)
    found: dict[str, Mapping[str, float]] = {}
    for version in versions:
        run, model = runs.get(version.run_id), logged.get(version.model_id)
        own = model.metrics if model is not None else {}
        shared = run is not None and len(run.outputs) > 1
        others = run.metrics if run is not None and not (own and shared) else {}
        found[version.version] = {**others, **own}
    return found


async def together(call: Callable[[A], Awaitable[T]], arguments: Sequence[A]) -> list[T | None]:
    """`call` of each argument, a few at a time; None where MLflow knows nothing of it."""
    gate = asyncio.Semaphore(_AT_ONCE)

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
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
