"""Finds logged models of MLflow 3: by id, or all of an experiment that no run produced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import NotFound
from gateway.mlflow_client import EndpointNotFound, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.mlflow_client import LoggedModel, MlflowClient

_WITHOUT_RUN: Final = "source_run_id = ''"
_MAX_PAGES: Final = 10  # of 100 models


async def find_logged_model(client: MlflowClient, model_id: str) -> LoggedModel | None:
    """Return the logged model with this id; None if there is none, as on MLflow 2."""
    try:
        model = await client.get_logged_model(model_id)
    except (NotFound, EndpointNotFound):
        return None
    except RequestRejected as error:
        if error.invalid:
            return None
        raise
    return model if model.model_id == model_id else None  # some databases ignore case


async def models_without_run(client: MlflowClient, experiment_ids: Sequence[str]) -> list[LoggedModel]:
    """Return at most 1000 logged models of the experiments that no run produced, the newest first."""
    found: list[LoggedModel] = []
    token = ""
    for _ in range(_MAX_PAGES):
        try:
            page = await client.search_logged_models(experiment_ids, _WITHOUT_RUN, token=token)
        except (EndpointNotFound, RequestRejected):
            break  # MLflow 2, or a store without this filter
        found += [model for model in page.items if not model.run_id]
        if not page.token or page.token == token:
            break
        token = page.token
    return found
