"""`gateway check`: whether what the gateway depends on can be used, by real calls, and the fix where not."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.domain import refs
from gateway.errors import ArtifactsRefused, GatewayError, NotServable, UpstreamAway, UpstreamWrong
from gateway.mlflow_client import MlflowClient, tracking_url

if TYPE_CHECKING:
    from gateway.domain.models import Model, ModelVersion
    from gateway.settings import Settings

PAGE = 1000
MAY_TRY = 20
_FIXES: dict[type[GatewayError], str] = {
    ArtifactsRefused: "allow where it lies: GATEWAY_ARTIFACT_SCHEMES, for file: GATEWAY_ARTIFACT_ROOTS",
    UpstreamAway: "see that it runs, and that its address is right: {address}",
    UpstreamWrong: "see that this is the server that is meant, and that its credentials are right: {address}",
}
_MLFLOW = "MLFLOW_TRACKING_URI and the other MLFLOW_TRACKING_ settings"
_STORE = "MLFLOW_S3_ENDPOINT_URL and AWS_ settings for s3, else the MLflow server's own artifact store"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what would put it right where it failed."""

    subject: str
    ok: bool
    text: str
    fix: str = ""

    def __str__(self) -> str:
        """As a line, the fix on another."""
        line = f"{self.subject:16} {'OK' if self.ok else 'failed':7} {self.text}"
        return f"{line}\n{'':24} fix: {self.fix}" if self.fix else line


def report(settings: Settings) -> int:
    """Print what every check found; 1 where one failed, else 0."""
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # the findings say it all
    findings = [_cache_folder(settings.cache_dir), *asyncio.run(_servers(settings))]
    sys.stdout.write("".join(f"{finding}\n" for finding in findings))
    return 0 if all(finding.ok for finding in findings) else 1


def _cache_folder(folder: Path) -> Finding:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"gateway check")
            probe.flush()
    except OSError as error:
        fix = "make the folder writable for this user, or set GATEWAY_CACHE_DIR to another"
        return Finding("cache folder", ok=False, text=f"{folder}: {error.strerror}", fix=fix)
    return Finding("cache folder", ok=True, text=f"{folder} can be written")


async def _servers(settings: Settings) -> list[Finding]:
    """MLflow, and the artifact store by way of it."""
    async with AsyncExitStack() as stack:
        # a folder of its own: what is in the cache already would be read without asking the store
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        mlflow = await stack.enter_async_context(MlflowClient(settings.mlflow))
        catalog = Catalog(mlflow, settings)
        stack.push_async_callback(catalog.close)
        cache = ArtifactCache(settings.model_copy(update={"cache_dir": Path(folder)}), mlflow)
        stack.push_async_callback(cache.close)
        await cache.open()
        try:
            models = await _models(catalog)
            version = await mlflow.server_version()
        except GatewayError as error:
            skipped = Finding("artifact store", ok=False, text="not tried, since MLflow names its place")
            return [_failed("MLflow", error, address=_MLFLOW), skipped]
        address = tracking_url(settings.mlflow.tracking_uri).with_user(None)  # and without its password
        told = f"{address} answers: version {version}, {len(models)} models"
        return [Finding("MLflow", ok=True, text=told), await _store(catalog, cache, models=models)]


async def _models(catalog: Catalog) -> list[Model]:
    page = await catalog.models(max_results=PAGE, page_token=None, name_contains="")
    found = list(page.models)
    while page.next_page_token:
        page = await catalog.models(max_results=PAGE, page_token=page.next_page_token, name_contains="")
        found += page.models
    return found


async def _store(catalog: Catalog, cache: ArtifactCache, *, models: list[Model]) -> Finding:
    """The store, by reading a small file of the first version there is."""
    subject = "artifact store"
    try:
        version = await _some_version(catalog, models[:MAY_TRY])
        if version is None:
            return Finding(subject, ok=True, text="not tried: there is no model version that is READY yet")
        content = await cache.read(version.key, lambda: catalog.locate(version), "MLmodel")
    except GatewayError as error:
        return _failed(subject, error, address=_STORE)
    if content is None:
        fix = "see that the version's files were not deleted from the store"
        return Finding(subject, ok=False, text=f"{version.key} has no MLmodel file there", fix=fix)
    return Finding(subject, ok=True, text=f"read {len(content)} bytes of {version.key}")


async def _some_version(catalog: Catalog, models: list[Model]) -> ModelVersion | None:
    for model in models:
        if model.latest is None:
            continue
        try:
            resolution = await catalog.resolve(refs.ModelRef(model.name, refs.Latest()))
        except NotServable:
            continue
        return resolution.version
    return None


def _failed(subject: str, error: GatewayError, *, address: str) -> Finding:
    # The catalog tells whatever is wrong with MLflow as UpstreamAway: what it was is the cause.
    cause = error.__cause__ if isinstance(error.__cause__, GatewayError) else error
    fix = next((text for kind, text in _FIXES.items() if isinstance(cause, kind)), "")
    return Finding(subject, ok=False, text=str(error), fix=fix.format(address=address))
