"""`gateway check`: try what the gateway depends on by real calls, and say how to fix what fails."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.cli.check_callers import check_callers, check_sources
from gateway.cli.check_environments import check_environments
from gateway.cli.check_nodes import check_nodes
from gateway.cli.check_result import CheckResult
from gateway.domain import refs
from gateway.errors import (
    ArtifactLocationForbidden,
    BadUpstreamResponse,
    GatewayError,
    UpstreamUnavailable,
    VersionNotServable,
)
from gateway.mlflow_client import MlflowClient, parse_tracking_url
from gateway.server.addresses import ListenError
from gateway.server.listeners import open_listeners
from gateway.server.tls_errors import TlsError
from gateway.server.tls_files import EXPIRY_WARNING_DAYS, load_tls_files
from gateway.settings import CurrentSettings, wall_policy
from gateway.system import privileges
from gateway.system.wall import WallStatus, wall_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.domain.models import Model, ModelVersion
    from gateway.settings import Settings, TlsSettings

PAGE_SIZE = 1000
MODELS_TO_TRY = 20
_FIXES: dict[type[GatewayError], str] = {
    ArtifactLocationForbidden: "allow its location: GATEWAY_ARTIFACT_SCHEMES; file: GATEWAY_ARTIFACT_ROOTS; "
    "files of another run or model: GATEWAY_SOURCE_CHECK",
    UpstreamUnavailable: "check that it runs, and its address: {address}",
    BadUpstreamResponse: "check the server's address and its credentials: {address}",
}
_WALL_FIX = "run on Linux 6.12 or later; docs/operations.md, The wall around models, has the table"
_MLFLOW_SETTINGS = "MLFLOW_TRACKING_URI and the other MLFLOW_TRACKING_ settings"
_STORE_SETTINGS = (
    "MLFLOW_S3_ENDPOINT_URL and AWS_ settings for s3, else the MLflow server's own artifact store"
)


def run_checks(settings: Settings) -> int:
    """Print the result of every check; return 1 if one failed, else 0."""
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # the results say it all
    results = [
        *_check_service_links(settings.service_links),
        *_check_user(settings.client_files.ignored),
        _check_names(settings.browser.allowed_hosts),
        *check_callers(settings),
        _check_addresses(settings.hosts),
        *_check_tls(settings.tls),
        _check_cache_folder(settings.cache_dir),
        _check_wall(wall_status(wall_policy(settings))),
        *check_environments(settings),
        *asyncio.run(check_sources(settings)),
        *asyncio.run(_check_upstreams(settings)),
        *asyncio.run(check_nodes(settings)),
    ]
    sys.stdout.write("".join(f"{result}\n" for result in results))
    return 0 if all(result.ok for result in results) else 1


def _check_service_links(names: Sequence[str]) -> Iterator[CheckResult]:
    """Yield a result if Kubernetes has set variables that look like settings."""
    if names:
        text = f"ignored {len(names)} variables that Kubernetes set for Services: {', '.join(names)}"
        fix = "set enableServiceLinks: false in the pod's spec"
        yield CheckResult("settings", ok=True, text=text, fix=fix)


def _check_user(ignored_files: Sequence[str]) -> Iterator[CheckResult]:
    """Yield a result if models can read secrets, and for each file that others may have written."""
    if exposure := privileges.exposure():
        yield CheckResult("user", ok=True, text=exposure, fix=privileges.ADVICE)
    for text in ignored_files:
        yield CheckResult("credentials", ok=True, text=text)


def _check_names(allowed_hosts: Sequence[str]) -> CheckResult:
    """Return the names that clients may use, because requests to others are answered with 421."""
    names = "any name" if "*" in allowed_hosts else ", ".join(("IP addresses", "localhost", *allowed_hosts))
    return CheckResult("names", ok=True, text=f"clients may use {names} (GATEWAY_ALLOWED_HOSTS)")


def _check_addresses(hosts: Sequence[str]) -> CheckResult:
    """Check that this machine has the addresses; on any port, because a gateway may be running."""
    subject, text = "addresses", ", ".join(hosts)
    try:
        (listeners,) = open_listeners(hosts, 0, count=1)
    except ListenError as error:
        fix = "set GATEWAY_HOST to addresses of this machine" if error.misconfigured else ""
        return CheckResult(subject, ok=False, text=str(error.strerror), fix=fix)
    for listener in listeners:
        listener.close()
    return CheckResult(subject, ok=True, text=f"{text} can be listened on")


def _check_tls(settings: TlsSettings) -> Iterator[CheckResult]:
    """Check the certificate, its key and the clients' authorities, if the gateway is to speak HTTPS."""
    if settings.cert_file is None:
        return
    try:
        files = load_tls_files(settings)
    except TlsError as error:
        yield CheckResult("TLS", ok=False, text=str(error))
        return
    clients = {"none": "clients show none", "optional": "clients may show theirs"}.get(
        settings.client, "clients must show theirs"
    )
    fix = "renew the certificate" if files.days_left() < EXPIRY_WARNING_DAYS else ""
    if not files.names:
        fix = "get a certificate with subject alternative names: clients check nothing else"
    yield CheckResult("TLS", ok=True, text=f"{files}; its key fits; {clients}", fix=fix)


def _check_cache_folder(folder: Path) -> CheckResult:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"gateway check")
            probe.flush()
    except OSError as error:
        fix = "make the folder writable for this user, or set GATEWAY_CACHE_DIR to another"
        return CheckResult("cache folder", ok=False, text=f"{folder}: {error.strerror}", fix=fix)
    return CheckResult("cache folder", ok=True, text=f"{folder} is writable")


def _check_wall(wall: WallStatus) -> CheckResult:
    """Check that workers can be confined; what is missing fails only if the settings require it."""
    fix = "" if wall.complete else _WALL_FIX
    return CheckResult("wall", ok=not wall.insufficient, text=wall.text, fix=fix)


async def _check_upstreams(settings: Settings) -> list[CheckResult]:
    """Check MLflow, and the artifact store that it names."""
    async with AsyncExitStack() as stack:
        # An empty cache folder: files in the real one would be read without asking the store.
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        mlflow = await stack.enter_async_context(MlflowClient(settings.mlflow))
        catalog = Catalog(mlflow, CurrentSettings(settings))
        stack.push_async_callback(catalog.close)
        cache = ArtifactCache(settings.model_copy(update={"cache_dir": Path(folder)}), mlflow)
        stack.push_async_callback(cache.close)
        await cache.open()
        try:
            models = await _list_models(catalog)
            version = await mlflow.server_version()
        except GatewayError as error:
            skipped = CheckResult(
                "artifact store", ok=False, text="not tried: only MLflow knows its location"
            )
            return [_failed_result("MLflow", error, address=_MLFLOW_SETTINGS), skipped]
        address = parse_tracking_url(settings.mlflow.tracking_uri).with_user(
            None
        )  # which removes the password too
        text = f"{address} answers: version {version}, {len(models)} models"
        return [
            CheckResult("MLflow", ok=True, text=text),
            await _check_artifact_store(catalog, cache, models=models),
        ]


async def _list_models(catalog: Catalog) -> list[Model]:
    page = await catalog.list_models(max_results=PAGE_SIZE, page_token=None, name_contains="")
    found = list(page.models)
    while page.next_page_token:
        page = await catalog.list_models(
            max_results=PAGE_SIZE, page_token=page.next_page_token, name_contains=""
        )
        found += page.models
    return found


async def _check_artifact_store(
    catalog: Catalog, cache: ArtifactCache, *, models: list[Model]
) -> CheckResult:
    """Check the store by reading a small file of the first version that is ready."""
    subject = "artifact store"
    try:
        version = await _first_ready_version(catalog, models[:MODELS_TO_TRY])
        if version is None:
            return CheckResult(subject, ok=True, text="not tried: no model version is READY yet")
        content = await cache.read_file(version.key, lambda: catalog.resolve_uri(version), "MLmodel")
    except GatewayError as error:
        return _failed_result(subject, error, address=_STORE_SETTINGS)
    if content is None:
        fix = "check that the version's files were not deleted from the store"
        return CheckResult(subject, ok=False, text=f"{version.key} has no MLmodel file", fix=fix)
    return CheckResult(subject, ok=True, text=f"read {len(content)} bytes of {version.key}")


async def _first_ready_version(catalog: Catalog, models: list[Model]) -> ModelVersion | None:
    for model in models:
        if model.latest is None:
            continue
        try:
            resolution = await catalog.resolve(refs.ModelRef(model.name, refs.Latest()))
        except VersionNotServable:
            continue
        return resolution.version
    return None


def _failed_result(subject: str, error: GatewayError, *, address: str) -> CheckResult:
    # The catalog raises every problem with MLflow as UpstreamUnavailable; the cause is more precise.
    cause = error.__cause__ if isinstance(error.__cause__, GatewayError) else error
    fix = next((text for kind, text in _FIXES.items() if isinstance(cause, kind)), "")
    return CheckResult(subject, ok=False, text=str(error), fix=fix.format(address=address))
