"""Registered models as version sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.catalog import bulk, filters
from gateway.catalog.best import Preference, collect_extremes
from gateway.catalog.versions import READY, from_registered_version, to_datetime
from gateway.domain.models import Model
from gateway.errors import NotFound
from gateway.mlflow_client import all_pages

if TYPE_CHECKING:
    from gateway.catalog.best import MetricExtremes
    from gateway.domain.models import ModelVersion
    from gateway.mlflow_client import MlflowClient, Page, RegisteredModel, Version

_LATEST_PAGE_SIZE = 20
_PAGE_SIZE = 1000


class RegisteredModelSource:
    """A version source for one registered model of the MLflow server."""

    def __init__(self, client: MlflowClient, record: RegisteredModel) -> None:
        self._client = client
        self._record = record
        self.name = record.name
        self.aliases = record.aliases
        self.preference = Preference.from_tags(record.tags)
        self._known_versions: list[ModelVersion] = []

    async def get_version(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """Return the version with this number, whatever its status; raise NotFound if there is none."""
        for known in self._known_versions:
            if known.version == number:
                return known
        try:
            version = await self._client.get_model_version(self.name, number)
        except NotFound:
            raise NotFound(f"There is no version {number} of {self.name!r}.") from None
        found = await bulk.version_metrics(self._client, [version]) if metrics else {}
        return from_registered_version(
            version, aliases=self._aliases_of(version.version), metrics=found.get(version.version)
        )

    async def latest_ready(self) -> ModelVersion | None:
        """Return the READY version with the highest number, or None."""
        token = ""
        while True:
            page = await self._client.search_model_versions(
                filters.name_equals(self.name), max_results=_LATEST_PAGE_SIZE, token=token
            )
            for version in page.items:
                if version.name == self.name and version.status == READY:
                    return from_registered_version(version, aliases=self._aliases_of(version.version))
            if not page.token or page.token == token:
                return None
            token = page.token

    async def list_versions(self) -> list[ModelVersion]:
        """Return all versions with their metrics, newest first."""
        records = await self._fetch_versions()
        metrics = await bulk.version_metrics(self._client, records)
        versions = [
            from_registered_version(
                record, aliases=self._aliases_of(record.version), metrics=metrics[record.version]
            )
            for record in records
        ]
        self._known_versions = sorted(versions, key=lambda version: int(version.version), reverse=True)
        return self._known_versions

    async def extremes(self) -> MetricExtremes[int] | None:
        """Return the extremes of the READY versions' metrics by number, or None if no version is READY."""
        ready = [version for version in await self.list_versions() if version.status == READY and version.uri]
        return collect_extremes(ready) if ready else None

    async def has_versions(self) -> bool:
        """Return whether there is a version of any status."""
        return bool(self._record.latest_versions) or bool(await self._fetch_versions())

    def to_model(self, latest: str | None) -> Model:
        """Return the model, with `latest` as the number of its newest READY version."""
        record = self._record
        return Model(
            name=record.name,
            source="registry",
            description=record.description,
            tags=record.tags,
            aliases=record.aliases,
            latest=latest,
            created=to_datetime(record.created),
            updated=to_datetime(record.updated),
        )

    async def to_model_with_latest(self) -> Model:
        """Return the model with its newest READY version, in most cases without a call to MLflow."""
        newest = max(self._record.latest_versions, key=lambda version: int(version.version), default=None)
        if newest is None or newest.status == READY:
            return self.to_model(newest.version if newest else None)
        latest = await self.latest_ready()
        return self.to_model(latest.version if latest else None)

    async def _fetch_versions(self) -> list[Version]:
        async def page(token: str) -> Page[Version]:
            return await self._client.search_model_versions(
                filters.name_equals(self.name), max_results=_PAGE_SIZE, token=token
            )

        return [version for version in await all_pages(page) if version.name == self.name]

    def _aliases_of(self, number: str) -> tuple[str, ...]:
        return tuple(sorted(alias for alias, version in self.aliases.items() if version == number))
