"""A client for the calls of MLflow's REST API that the gateway needs."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, Self

from gateway.errors import NotFound
from gateway.mlflow_client import metric_points, records
from gateway.mlflow_client.artifacts import (
    ArtifactEntry,
    ArtifactStream,
    RunFolder,
    parse_entries,
    parse_run_folder,
    quote_path,
)
from gateway.mlflow_client.auth import create_ssl_context, load_credentials, parse_tracking_url
from gateway.mlflow_client.proxy import choose_proxy
from gateway.mlflow_client.transport import MAX_RECORD_BYTES, Json, Transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from yarl import URL

    from gateway.mlflow_client.metric_points import MetricPoint
    from gateway.mlflow_client.records import Experiment, LoggedModel, Page, RegisteredModel, Run, Version
    from gateway.settings import MlflowSettings

RunView = Literal["ACTIVE_ONLY", "ALL"]

_API = "/api/2.0/mlflow"
_ARTIFACTS_API = "/api/2.0/mlflow-artifacts/artifacts"
_API_CONNECTIONS = 32
_DOWNLOAD_CONNECTIONS = 32
_MAX_HISTORY = 25_000
_MODEL_ID = re.compile(r"m-[A-Za-z0-9_-]{1,126}")


class MlflowClient:
    """A client of one MLflow server, and of its model registry if that is another server.

    Every call raises only BadUpstreamResponse, UpstreamUnavailable, UpstreamTimeout and NotFound.
    Artifacts have connections of their own, so that no download delays a lookup.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        """Open no connection yet; raise ValueError with the name of a wrong setting."""
        self._settings = settings
        self._tracking_url = parse_tracking_url(settings.tracking_uri)
        registry = settings.registry_uri
        self._registry_url = (
            parse_tracking_url(registry, name="MLFLOW_REGISTRY_URI") if registry else self._tracking_url
        )
        context = create_ssl_context(settings)
        self._tracking = self._create_transport(self._tracking_url, context, connections=_API_CONNECTIONS)
        self._registry = (
            self._tracking
            if self._registry_url == self._tracking_url
            else self._create_transport(self._registry_url, context, connections=_API_CONNECTIONS)
        )
        self._artifacts = self._create_transport(
            self._tracking_url, context, connections=_DOWNLOAD_CONNECTIONS
        )
        self._transports = tuple(dict.fromkeys((self._tracking, self._registry, self._artifacts)))

    def _create_transport(self, url: URL, context: ssl.SSLContext, *, connections: int) -> Transport:
        headers = load_credentials(self._settings, url=url).headers()
        if self._settings.workspace:
            headers["X-MLFLOW-WORKSPACE"] = self._settings.workspace
        return Transport(
            url,
            headers=headers,
            tls=context,
            timeout=self._settings.request_timeout,
            connections=connections,
            proxy=choose_proxy(self._settings, url),
        )

    async def open(self) -> Self:
        """Create the HTTP sessions; send nothing yet."""
        for transport in self._transports:
            await transport.open()
        return self

    async def close(self) -> None:
        """Close every connection; a second call does nothing."""
        for transport in reversed(self._transports):
            await transport.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def server_version(self) -> str:
        """Return the server's version, for example `3.17.2`."""
        return await self._tracking.text("/version")

    # --- the registry

    async def get_registered_model(self, name: str) -> RegisteredModel:
        """Return the registered model, including its aliases."""
        return await self._registry.get(
            f"{_API}/registered-models/get",
            {"name": name},
            parse=lambda response: records.parse_object(
                response, "registered_model", records.parse_registered_model
            ),
            max_bytes=MAX_RECORD_BYTES,
        )

    async def search_registered_models(
        self, filter_text: str = "", *, max_results: int, token: str = ""
    ) -> Page[RegisteredModel]:
        """Return one page, at most 1000, of the registered models without prompts, sorted by name."""
        params = _drop_empty({"filter": filter_text, "max_results": str(max_results), "page_token": token})
        return await self._registry.get(
            f"{_API}/registered-models/search",
            params,
            parse=lambda response: records.parse_page(
                response, "registered_models", records.parse_registered_model
            ),
        )

    async def get_model_version(self, name: str, number: str) -> Version:
        """Return one version of a registered model, including its aliases."""
        params = {"name": name, "version": number}
        return await self._registry.get(
            f"{_API}/model-versions/get",
            params,
            parse=lambda response: records.parse_object(response, "model_version", records.parse_version),
            max_bytes=MAX_RECORD_BYTES,
        )

    async def search_model_versions(
        self, filter_text: str, *, max_results: int, token: str = ""
    ) -> Page[Version]:
        """Return one page of versions without their aliases, the highest number first."""
        params = {
            "filter": filter_text,
            "max_results": str(max_results),
            "order_by": "version_number DESC",
            "page_token": token,
        }
        return await self._registry.get(
            f"{_API}/model-versions/search",
            _drop_empty(params),
            parse=lambda response: records.parse_page(response, "model_versions", records.parse_version),
        )

    # --- experiments, runs and logged models

    async def get_experiment_by_name(self, name: str) -> Experiment:
        """Return the experiment with this name, deleted or not."""
        return await self._tracking.get(
            f"{_API}/experiments/get-by-name",
            {"experiment_name": name},
            parse=lambda response: records.parse_object(response, "experiment", records.parse_experiment),
            max_bytes=MAX_RECORD_BYTES,
        )

    async def search_experiments(
        self, filter_text: str = "", *, max_results: int, token: str = ""
    ) -> Page[Experiment]:
        """Return one page of the experiments that are not deleted, sorted by name."""
        body: Json = {"max_results": max_results, "view_type": "ACTIVE_ONLY", "order_by": ["name ASC"]}
        body |= _drop_empty({"filter": filter_text, "page_token": token})
        return await self._tracking.post(
            f"{_API}/experiments/search",
            body,
            parse=lambda response: records.parse_page(response, "experiments", records.parse_experiment),
        )

    async def get_run(self, run_id: str) -> Run:
        """Return one run, deleted or not."""
        return await self._tracking.get(
            f"{_API}/runs/get",
            {"run_id": run_id},
            parse=lambda response: records.parse_object(response, "run", records.parse_run),
            max_bytes=MAX_RECORD_BYTES,
        )

    async def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_text: str = "",
        *,
        view: RunView = "ACTIVE_ONLY",
        max_results: int = 1000,
        token: str = "",
    ) -> Page[Run]:
        """Return one page of the experiments' runs, the oldest first."""
        body: Json = {
            "experiment_ids": list(experiment_ids),
            "run_view_type": view,
            "max_results": max_results,
            "order_by": ["attributes.start_time ASC"],
        }
        body |= _drop_empty({"filter": filter_text, "page_token": token})
        return await self._tracking.post(
            f"{_API}/runs/search",
            body,
            parse=lambda response: records.parse_page(response, "runs", records.parse_run),
        )

    async def get_metric_history(self, run_id: str, key: str) -> tuple[MetricPoint, ...]:
        """Return the points of one metric of a run, at most 25,000."""
        params = {"run_id": run_id, "metric_key": key, "max_results": str(_MAX_HISTORY)}
        return await self._tracking.get(
            f"{_API}/metrics/get-history",
            params,
            parse=lambda response: tuple(metric_points.parse_points(response)),
        )

    async def get_logged_model(self, model_id: str) -> LoggedModel:
        """Return one logged model; raise EndpointNotFound if the server is an MLflow 2."""
        if not _MODEL_ID.fullmatch(model_id):
            raise NotFound("MLflow has no model with such an id.")
        return await self._tracking.get(
            f"{_API}/logged-models/{model_id}",
            parse=lambda response: records.parse_object(response, "model", records.parse_logged_model),
            max_bytes=MAX_RECORD_BYTES,
        )

    async def search_logged_models(
        self, experiment_ids: Sequence[str], filter_text: str = "", *, max_results: int = 100, token: str = ""
    ) -> Page[LoggedModel]:
        """Return one page of logged models; raise EndpointNotFound if the server is an MLflow 2."""
        body: Json = {"experiment_ids": list(experiment_ids), "max_results": max_results}
        body |= _drop_empty({"filter": filter_text, "page_token": token})
        return await self._tracking.post(
            f"{_API}/logged-models/search",
            body,
            parse=lambda response: records.parse_page(response, "models", records.parse_logged_model),
        )

    # --- artifacts through the server

    async def list_run_artifacts(self, run_id: str, path: str) -> RunFolder:
        """Return the folder `path` among the artifacts of a run; empty if it does not exist."""
        params = _drop_empty({"run_id": run_id, "path": path})
        return await self._artifacts.get(f"{_API}/artifacts/list", params, parse=parse_run_folder)

    async def list_artifacts(self, path: str) -> list[ArtifactEntry]:
        """Return the direct entries of the folder `path` in the server's store; none if it does not exist."""
        params = {"path": path.strip("/")} if path.strip("/") else None
        return await self._artifacts.get(_ARTIFACTS_API, params, parse=parse_entries)

    @asynccontextmanager
    async def stream_artifact(self, path: str) -> AsyncIterator[ArtifactStream]:
        """Stream the file `path` from the server's store; raise NotFound if it does not exist."""
        async with self._artifacts.stream(f"{_ARTIFACTS_API}/{quote_path(path)}") as stream:
            yield stream


def _drop_empty(params: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}
