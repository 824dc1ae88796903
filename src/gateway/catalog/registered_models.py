"""Registered models as version sources."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.catalog import bulk, filters, locations
from gateway.catalog.best import Preference, choose_from_versions
from gateway.catalog.logged_models import find_logged_model
from gateway.catalog.versions import READY, from_registered_version, to_datetime
from gateway.domain.models import Model, ModelDetails
from gateway.domain.refs import Best, ModelId
from gateway.errors import ArtifactLocationForbidden, ArtifactsNotFound, BestMetricUndecided, NotFound
from gateway.mlflow_client import all_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.catalog.readers import Readers
    from gateway.domain.models import BestChoice, ModelVersion
    from gateway.domain.refs import RunId
    from gateway.mlflow_client import MlflowClient, Page, RegisteredModel, Version

_LATEST_PAGE_SIZE = 20
_PAGE_SIZE = 1000
_MAX_COMPARED = 20


class RegisteredModelSource:
    """A version source for one registered model of the MLflow server."""

    def __init__(self, client: MlflowClient, record: RegisteredModel, *, readers: Readers) -> None:
        self._client = client
        self._readers = readers
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
        found = await self._readers.metrics.read_versions([version]) if metrics else {}
        return from_registered_version(
            version, aliases=self._aliases_of(version.version), metrics=found.get(version.version)
        )

    async def get_by_id(self, selector: ModelId | RunId, *, metrics: bool = False) -> ModelVersion:
        """Return the version with the files of this logged model, or of this run; raise NotFound.

        Of several the newest READY one is returned, or if none is READY, the newest.
        """
        if isinstance(selector, ModelId):
            records = await self._fetch_versions()
            same = [record for record in records if record.model_id == selector.value]
            same = same or await self._find_by_files(records, selector.value)
        else:
            same = await self._fetch_versions(run_id=selector.value)
        if not same:
            raise NotFound(f"No version of {self.name!r} has this id.")
        chosen = next((record for record in same if record.status == READY), same[0])
        return await self.get_version(chosen.version, metrics=metrics)

    async def _find_by_files(self, records: Sequence[Version], model_id: str) -> list[Version]:
        """Return the versions that name the logged model's files in another way: by run, or by a version."""
        model = await find_logged_model(self._client, model_id)
        if model is None:
            return []
        some = [record for record in records if record.run_id == model.run_id and not record.model_id]
        some = some[:_MAX_COMPARED]
        uris = await bulk.gather_bounded(self._resolve_source, some)
        return [record for record, uri in zip(some, uris, strict=True) if uri == model.artifact_uri]

    async def _resolve_source(self, record: Version) -> str:
        try:
            return await locations.resolve_uri(self._client, record.source)
        except (ArtifactsNotFound, ArtifactLocationForbidden):
            return ""

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
        metrics = await self._readers.metrics.read_versions(records)
        versions = [
            from_registered_version(
                record, aliases=self._aliases_of(record.version), metrics=metrics[record.version]
            )
            for record in records
        ]
        self._known_versions = sorted(versions, key=lambda version: int(version.version), reverse=True)
        return self._known_versions

    async def best(self, selector: Best, preferences: Iterable[Preference]) -> BestChoice | None:
        """Return the best READY version, None if no version is READY; raise BestMetricUndecided."""
        ready = _ready_versions(await self.list_versions())
        return choose_from_versions(ready, selector, preferences=preferences) if ready else None

    async def describe(self, preferences: Iterable[Preference]) -> ModelDetails:
        """Return the model with all its versions, newest first."""
        return await asyncio.to_thread(self._describe, await self.list_versions(), preferences)

    def _describe(self, versions: list[ModelVersion], preferences: Iterable[Preference]) -> ModelDetails:
        ready = _ready_versions(versions)
        try:
            choice = choose_from_versions(ready, Best(), preferences=preferences) if ready else None
        except BestMetricUndecided:
            choice = None
        return ModelDetails(self.to_model(ready[0].version if ready else None), tuple(versions), choice)

    async def no_ready_version_message(self) -> str:
        """Return why neither `latest` nor `best` exists, if there are versions; else raise NotFound."""
        if self._record.latest_versions or await self._fetch_versions():
            return f"No version of {self.name!r} is READY."
        raise NotFound(f"{self.name!r} has no version.")

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

    async def _fetch_versions(self, *, run_id: str = "") -> list[Version]:
        """Return all versions, or those of one run, the newest first."""
        filter_text = filters.name_equals(self.name)
        if run_id:
            filter_text += f" AND {filters.id_in('run_id', [run_id])}"

        async def page(token: str) -> Page[Version]:
            return await self._client.search_model_versions(filter_text, max_results=_PAGE_SIZE, token=token)

        return [version for version in await all_pages(page) if version.name == self.name]

    def _aliases_of(self, number: str) -> tuple[str, ...]:
        return tuple(sorted(alias for alias, version in self.aliases.items() if version == number))


def _ready_versions(versions: list[ModelVersion]) -> list[ModelVersion]:
    return [version for version in versions if version.status == READY and version.uri]
