"""The JSON forms of models and versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from gateway.domain.mlmodel import Signature
    from gateway.domain.models import BestChoice, Model, ModelDetails, ModelPage, ModelVersion, RunDetails
    from gateway.serving.details import VersionDetails
    from workers.pool.status import ModelStatus

JsonObject = dict[str, object]


def model_page_json(models: ModelPage) -> JsonObject:
    """A list of models; `next_page_token` only where there are more."""
    shape: JsonObject = {"models": [model_json(each) for each in models.models]}
    if models.next_page_token:
        shape["next_page_token"] = models.next_page_token
    return shape


def model_json(one: Model) -> JsonObject:
    """A model without its versions."""
    return {
        "name": one.name,
        "source": one.source,
        "description": one.description,
        "tags": dict(one.tags),
        "aliases": dict(one.aliases),
        "latest": one.latest,
        "created": one.created,
        "updated": one.updated,
    }


def model_details_json(one: ModelDetails) -> JsonObject:
    """A model with its versions, newest first."""
    versions = [version_json(each) for each in one.versions]
    return {**model_json(one.model), "best": _best_json(one.best), "versions": versions}


def version_json(one: ModelVersion) -> JsonObject:
    """A version without what its run and its files say."""
    return {
        "name": one.name,
        "version": one.version,
        "source": one.source,
        "status": one.status,
        "stage": one.stage,
        "aliases": list(one.aliases),
        "tags": dict(one.tags),
        "description": one.description,
        "created": one.created,
        "updated": one.updated,
        "run_id": one.run_id,
        "metrics": dict(one.metrics),
    }


def version_details_json(one: VersionDetails) -> JsonObject:
    """A version, whole; null stands for what could not be read."""
    parsed = one.mlmodel
    return {
        **version_json(one.version),
        "run": _run_json(one.run),
        "signature": _signature_json(parsed.signature) if parsed else None,
        "flavors": list(parsed.flavors) if parsed else None,
        "mlflow_version": parsed.mlflow_version if parsed else None,
        "requirements": _to_list(one.requirements),
        "requirements_missing": _to_list(one.requirements_missing),
        "input_example": orjson.Fragment(one.input_example) if one.input_example is not None else None,
        "artifact_uri": one.artifact_uri,
        "serving": _serving_json(one.serving),
    }


def _best_json(choice: BestChoice | None) -> JsonObject | None:
    if choice is None:
        return None
    return {"version": choice.version, "metric": choice.metric, "value": choice.value, "order": choice.order}


def _run_json(run: RunDetails | None) -> JsonObject | None:
    if run is None:
        return None
    return {
        "run_id": run.run_id,
        "experiment_id": run.experiment_id,
        "name": run.name,
        "status": run.status,
        "params": dict(run.params),
        "metrics": dict(run.metrics),
        "tags": dict(run.tags),
    }


def _signature_json(signature: Signature | None) -> JsonObject | None:
    if signature is None:
        return None
    return {"inputs": signature.inputs, "outputs": signature.outputs, "params": signature.params}


def _serving_json(state: ModelStatus) -> JsonObject:
    shape: JsonObject = {"state": state.state, "workers": state.workers}
    if state.row_batching is not None:
        shape["batching"] = {"rows_together": state.row_batching.enabled, "reason": state.row_batching.reason}
    if state.reason:
        shape["reason"] = state.reason
    return shape


def _to_list(lines: tuple[str, ...] | None) -> list[str] | None:
    return None if lines is None else list(lines)
