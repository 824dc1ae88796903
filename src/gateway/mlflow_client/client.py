"""A client for the calls of MLflow's REST API that the gateway needs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client import records
from gateway.mlflow_client.artifacts import ArtifactEntry, ArtifactStream, quote_path
from gateway.mlflow_client.auth import create_ssl_context, load_credentials, parse_tracking_url
from gateway.mlflow_client.proxy import choose_proxy
from gateway.mlflow_client.transport import Json, Transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from types import TracebackType

    from yarl import URL

    from gateway.mlflow_client.records import Experiment, LoggedModel, Page, RegisteredModel, Run, Version
    from gateway.settings import MlflowSettings

T = TypeVar("T")
RunView = Literal["ACTIVE_ONLY", "ALL"]

MAX_PAGES = 1000
_API = "/api/2.0/mlflow"
_ARTIFACTS_API = "/api/2.0/mlflow-artifacts/artifacts"
_CREDENTIALS_FILE = Path(".mlflow") / "credentials"
_API_CONNECTIONS = 32
_DOWNLOAD_CONNECTIONS = 32


class MlflowClient:
    """A client of one MLflow server, and of its model registry if that is another server.

    Every call raises only BadUpstreamResponse, UpstreamUnavailable, UpstreamTimeout and NotFound.
    Artifacts have connections of their own, so that no download delays a lookup.
    """

    def __init__(self, settings: MlflowSettings, *, credentials_file: Path | None = None) -> None:
        """Open no connection yet; raise ValueError with the name of a wrong setting."""
        self._settings = settings
        self._credentials_file = credentials_file or Path.home() / _CREDENTIALS_FILE
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
        headers = load_credentials(self._settings, url=url, file=self._credentials_file).headers()
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

    async def get_logged_model(self, model_id: str) -> LoggedModel:
        """Return one logged model; raise EndpointNotFound if the server is an MLflow 2."""
        return await self._tracking.get(
            f"{_API}/logged-models/{quote_path(model_id)}",
            parse=lambda response: records.parse_object(response, "model", records.parse_logged_model),
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

    async def list_artifacts(self, path: str) -> list[ArtifactEntry]:
        """Return the direct entries of the folder `path` in the server's store; none if it does not exist."""
        params = {"path": path.strip("/")} if path.strip("/") else None
        return await self._artifacts.get(_ARTIFACTS_API, params, parse=_parse_artifacts)

    @asynccontextmanager
    async def stream_artifact(self, path: str) -> AsyncIterator[ArtifactStream]:
        """Stream the file `path` from the server's store; raise NotFound if it does not exist."""
        async with self._artifacts.stream(f"{_ARTIFACTS_API}/{quote_path(path)}") as stream:
            yield stream


def _drop_empty(params: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}


def _parse_artifacts(response: Json) -> list[ArtifactEntry]:
    return [
        ArtifactEntry(item["path"], item.get("is_dir") is True, _parse_size(item))
        for item in records.get_entries(response, "files")
        if isinstance(item.get("path"), str)
    ]


def _parse_size(item: Json) -> int | None:
    size = item.get("file_size")
    if isinstance(size, str) and size.isascii() and size.isdigit():
        return int(size)
    return size if isinstance(size, int) else None


async def all_pages(page: Callable[[str], Awaitable[Page[T]]]) -> list[T]:
    """Return the items of all pages of a search; `page` fetches the page for a token.

    Raise BadUpstreamResponse if a token repeats, or if there are more than MAX_PAGES pages.
    """
    found: list[T] = []
    token, seen = "", set[str]()
    for _ in range(MAX_PAGES):
        current = await page(token)
        found += current.items
        token = current.token
        if not token:
            return found
        if token in seen:
            break
        seen.add(token)
    raise BadUpstreamResponse("MLflow's list of results does not end.")
