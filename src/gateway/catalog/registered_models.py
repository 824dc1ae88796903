"""Registered models and their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.catalog import bulk, filters
from gateway.catalog.best import Preference, extremes_of
from gateway.catalog.versions import READY, moment, registered
from gateway.domain.models import Model
from gateway.errors import NotFound
from gateway.mlflow_client import every

if TYPE_CHECKING:
    from gateway.catalog.extremes import Extremes
    from gateway.domain.models import ModelVersion
    from gateway.mlflow_client import MlflowClient, Page, RegisteredModel, Version

_FEW = 20
_MANY = 1000


class Registered:
    """One registered model of the MLflow server."""

    def __init__(self, client: MlflowClient, record: RegisteredModel) -> None:
        self._client = client
        self._record = record
        self.name = record.name
        self.aliases = record.aliases
        self.preference = Preference.of(record.tags)
        self._versions: list[ModelVersion] = []

    async def numbered(self, number: str, *, metrics: bool = False) -> ModelVersion:
        """The version of that number, whatever its status; NotFound where there is none."""
        for known in self._versions:
            if known.version == number:
                return known
        try:
            version = await self._client.version(self.name, number)
        except NotFound:
            raise NotFound(f"There is no version {number} of {self.name!r}.") from None
        values = await bulk.metrics(self._client, [version]) if metrics else {}
        return registered(
            version, aliases=self._aliases_of(version.version), metrics=values.get(version.version)
        )

    async def latest(self) -> ModelVersion | None:
        """The READY version of the highest number."""
        token = ""
        while True:
            page = await self._client.search_versions(filters.named(self.name), max_results=_FEW, token=token)
            for version in page.items:
                if version.name == self.name and version.status == READY:
                    return registered(version, aliases=self._aliases_of(version.version))
            if not page.token or page.token == token:
                return None
            token = page.token

    async def versions(self) -> list[ModelVersion]:
        """All versions with their metrics, newest first."""
        records = await self._records()
        known = await bulk.metrics(self._client, records)
        found = [
            registered(record, aliases=self._aliases_of(record.version), metrics=known[record.version])
            for record in records
        ]
        self._versions = sorted(found, key=lambda version: int(version.version), reverse=True)
        return self._versions

    async def extremes(self) -> Extremes[int] | None:
        """The extremes of the READY versions' metrics, by number; None where none is READY."""
        ready = [version for version in await self.versions() if version.status == READY and version.uri]
        return extremes_of(ready) if ready else None

    async def any_version(self) -> bool:
        """Whether there is a version of any status."""
        return bool(self._record.newest) or bool(await self._records())

    def model(self, latest: str | None) -> Model:
        """The model as such; `latest` is the number that `latest` stands for now."""
        record = self._record
        return Model(
            name=record.name,
            source="registry",
            description=record.description,
            tags=record.tags,
            aliases=record.aliases,
            latest=latest,
            created=moment(record.created),
            updated=moment(record.updated),
        )

    async def listed(self) -> Model:
        """As `model`, finding out what `latest` stands for: mostly without a call."""
        newest = max(self._record.newest, key=lambda version: int(version.version), default=None)
        if newest is None or newest.status == READY:
            return self.model(newest.version if newest else None)
        latest = await self.latest()
        return self.model(latest.version if latest else None)

    async def _records(self) -> list[Version]:
        async def page(token: str) -> Page[Version]:
            return await self._client.search_versions(
                filters.named(self.name), max_results=_MANY, token=token
            )

        return [version for version in await every(page) if version.name == self.name]

    def _aliases_of(self, number: str) -> tuple[str, ...]:
        return tuple(sorted(alias for alias, version in self.aliases.items() if version == number))
