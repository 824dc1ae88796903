"""Selects the store for a location, and rejects locations that the operator does not allow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.artifacts.stores.by_file import FileByFileStore
from gateway.artifacts.stores.local import LocalFileStore
from gateway.artifacts.stores.mlflow_proxy import MlflowProxyFileStore
from gateway.artifacts.stores.mlflow_subprocess import MlflowSubprocessStore
from gateway.artifacts.stores.s3_on_demand import S3OnDemand
from gateway.errors import ArtifactLocationForbidden

if TYPE_CHECKING:
    from gateway.artifacts.stores.base import Store
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import Settings

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
# The catalog resolves these before. MLflow must not resolve them again, perhaps to another location.
_MLFLOW_SCHEMES = frozenset({"models", "runs"})


class StoreFactory:
    """A factory that has one store per URI scheme; it owns the S3 client."""

    def __init__(self, settings: Settings, client: MlflowClient) -> None:
        self._allowed_schemes = (
            frozenset(scheme.lower() for scheme in settings.artifact_schemes) - _MLFLOW_SCHEMES
        )
        self._roots = settings.artifact_roots
        self._s3 = S3OnDemand(settings.s3)
        self._fallback = MlflowSubprocessStore(
            settings.environment,
            files=settings.client_files,
            wall=settings.worker_wall,
            readable=[str(folder) for folder in settings.worker_readable],
        )
        self._stores: dict[str, Store] = {
            "mlflow-artifacts": FileByFileStore(MlflowProxyFileStore(client, settings.mlflow.tracking_uri)),
            "s3": FileByFileStore(self._s3),
            "file": FileByFileStore(
                LocalFileStore(settings.artifact_roots, follow_links=settings.effective_source_check != "own")
            ),
        }

    def for_uri(self, uri: str) -> Store:
        """Return the store for `uri`; raise ArtifactLocationForbidden with the settings that allow it.

        `file:` URIs and absolute paths also need an allowed root folder.
        """
        scheme = uri_scheme(uri)
        if scheme not in self._allowed_schemes or (scheme == "file" and not self._roots):
            also = " and GATEWAY_ARTIFACT_ROOTS a folder above it" if scheme == "file" else ""
            raise ArtifactLocationForbidden(
                f"This version's files are at a location with the scheme {scheme}, which is not allowed: "
                f"to allow it, GATEWAY_ARTIFACT_SCHEMES must name {scheme}{also}."
            )
        return self._stores.get(scheme, self._fallback)

    async def close(self) -> None:
        """Close the connections to the stores."""
        await self._s3.close()


def uri_scheme(uri: str) -> str:
    """Return the scheme of `uri`, `file` for an absolute path; raise ArtifactLocationForbidden for others."""
    match = _SCHEME.match(uri)
    if (
        _CONTROL_CHARACTERS.search(uri)
        or (match is None and not uri.startswith("/"))
        or not _is_parsable(uri)
    ):
        raise ArtifactLocationForbidden(
            "This version's location is not a URI such as s3://… and not an absolute path."
        )
    return match[1].lower() if match else "file"


def _is_parsable(uri: str) -> bool:
    """Return whether urllib can parse `uri`, as the stores do later."""
    try:
        urlsplit(uri)
    except ValueError:
        return False
    return True
