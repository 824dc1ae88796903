"""The JSON forms of models and versions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

if TYPE_CHECKING:
    from gateway.domain.mlmodel import Signature
    from gateway.domain.models import BestChoice, Model, ModelDetails, ModelPage, ModelVersion, RunDetails
    from gateway.environments.state import EnvironmentState
    from gateway.serving.details import VersionDetails
    from workers.pool.status import ModelStatus

JsonObject = dict[str, object]


def model_page_json(page: ModelPage) -> JsonObject:
    """Return a page of models; `next_page_token` only if more follow."""
    document: JsonObject = {"models": [model_json(model) for model in page.models]}
    if page.next_page_token:
        document["next_page_token"] = page.next_page_token
    return document


def model_json(model: Model) -> JsonObject:
    """Return a model without its versions."""
    return {
        "name": model.name,
        "source": model.source,
        "description": model.description,
        "tags": dict(model.tags),
        "aliases": dict(model.aliases),
        "latest": model.latest,
        "created": model.created,
        "updated": model.updated,
    }


def model_details_json(details: ModelDetails) -> JsonObject:
    """Return a model with its versions, newest first."""
    versions = [version_json(version) for version in details.versions]
    document = {**model_json(details.model), "best": _best_json(details.best)}
    if details.model.source == "registry":
        document["hides_experiment"] = details.hides_experiment
    document["versions"] = versions
    if details.model.source == "experiment":
        document["models_without_run"] = [
            {**version_json(version), "logged_name": version.logged_name} for version in details.without_run
        ]
    return document


def version_json(version: ModelVersion) -> JsonObject:
    """Return a version without the data from its run and its files."""
    return {
        "name": version.name,
        "version": version.version,
        "source": version.source,
        "status": version.status,
        "stage": version.stage,
        "aliases": list(version.aliases),
        "tags": dict(version.tags),
        "description": version.description,
        "created": version.created,
        "updated": version.updated,
        "run_id": version.run_id,
        "metrics": dict(version.metrics),
    }


def version_details_json(
    details: VersionDetails,
    status: ModelStatus,
    environment: EnvironmentState | None = None,
    *,
    with_nodes: bool = False,
) -> JsonObject:
    """Return a version with the data from its run and its files; null for what could not be read.

    `with_nodes`: name the nodes that have it warm, for a caller who may see the gateway's state.
    """
    mlmodel, example, required = details.mlmodel, details.input_example, details.requirements
    serving = _serving_json(status, environment)
    document: JsonObject = {
        **version_json(details.version),
        "run": _run_json(details.run),
        "signature": _signature_json(mlmodel.signature) if mlmodel else None,
        "flavors": list(mlmodel.flavors) if mlmodel else None,
        "mlflow_version": mlmodel.mlflow_version if mlmodel else None,
        "requirements": _to_list(required.lines if required else None),
        "requirements_missing": _to_list(details.requirements_missing),
        "input_example": orjson.Fragment(example) if example is not None else None,
        "artifact_uri": details.artifact_uri,
        "openapi": f"model/{quote(details.version.name, safe='')}/{details.version.version}/openapi.json",
        "serving": serving,
    }
    if with_nodes and status.nodes:
        serving["nodes"] = list(status.nodes)
    if required is not None and required.truncated:
        document["requirements_truncated"] = True
    return document


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


def _serving_json(status: ModelStatus, environment: EnvironmentState | None) -> JsonObject:
    document: JsonObject = {"state": status.state, "workers": status.workers}
    if (batching := status.row_batching) is not None:
        document["batching"] = {"rows_together": batching.enabled, "reason": batching.reason}
    if (device := status.device) is not None:
        document["device"] = {
            "uuid": device.uuid,
            "share": device.share / 1000,
            "memory_bytes": device.memory_bytes,
        }
    if status.reason:
        document["reason"] = status.reason
    if environment is not None:
        document["environment"] = _environment_json(environment)
    return document


def _environment_json(environment: EnvironmentState) -> JsonObject:
    document: JsonObject = {"state": environment.state}
    if environment.digest:
        document["digest"] = environment.digest
    if environment.python:
        document["python"] = environment.python
    if environment.state == "building" and environment.progress is not None:
        document["progress"] = environment.progress.text
    if environment.reason:
        document["reason"] = environment.reason
    return document


def _to_list(lines: tuple[str, ...] | None) -> list[str] | None:
    return None if lines is None else list(lines)
