"""Decides whether a version's files are those of its own run or logged model.

MLflow lets a client register a version with any location in a store that its server does not serve, and lets
it name any logged model as an output of its run. The gateway's account can read all of them. So a client that
may not read a model could have the gateway serve it, as a version of its own.

A version's own files are below the artifact root of the run or the logged model that its record names. MLflow
3.17 lets a client name only a run or model that it may read. The root of the experiment does not count: a
client chooses it freely when it creates an experiment, while those of a run and of a logged model end in a
new id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.catalog.locations import is_plain_path
from gateway.errors import NotFound
from gateway.mlflow_client import EndpointNotFound, LoggedModel, RequestRejected, Run

if TYPE_CHECKING:
    from gateway.catalog.locations import Trail
    from gateway.domain.models import ModelVersion
    from gateway.mlflow_client import MlflowClient, Version

_MODEL_FOLDER = re.compile(r"/models/(m-[A-Za-z0-9_-]{1,126})/artifacts(?:/|$)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


async def find_fault(client: MlflowClient, version: ModelVersion, trail: Trail) -> str | None:
    """Return why the files that `trail` leads to are not the version's own, or None if they are.

    A version that copies another registered version has the files of that one, if they are that one's own.
    """
    if _split(trail.uri) is None:
        return "it has a folder that leads elsewhere"
    claim = _Claim.of_version(version)
    for position, record in enumerate(trail.records):
        is_last = position == len(trail.records) - 1
        if isinstance(record, Run):
            return _fault_of_run(claim, record, is_last=is_last)
        if isinstance(record, LoggedModel):
            return await _fault_of_model(client, claim, model=record, is_last=is_last)
        claim = _Claim.of_record(record)
    if await _is_in_own_root(client, claim, trail.uri):
        return None
    return "it is not below the artifacts of the run or logged model that the version names"


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a version's record says of its origin; `experiment` is True for a version that is a run."""

    version: tuple[str, str]
    run_id: str
    model_id: str
    experiment: bool = False

    @classmethod
    def of_version(cls, version: ModelVersion) -> _Claim:
        return cls(
            (version.name, version.version),
            version.run_id,
            version.model_id,
            experiment=version.source == "experiment",
        )

    @classmethod
    def of_record(cls, record: Version) -> _Claim:
        return cls((record.name, record.version), record.run_id, record.model_id)

    def owns(self, model: LoggedModel) -> bool:
        """Return whether the version names the logged model, or the run that produced it."""
        if self.run_id and self.run_id == model.run_id:
            return True
        return not self.experiment and (
            self.model_id == model.model_id or self.version in model.registered_as
        )


def _fault_of_run(claim: _Claim, run: Run, *, is_last: bool) -> str | None:
    if not is_last:
        return "its run has no artifact root of its own"
    # Without a run of its own, a version names its run by its location.
    return None if claim.run_id in {"", run.run_id} else "it names another run than the version"


async def _fault_of_model(
    client: MlflowClient, claim: _Claim, *, model: LoggedModel, is_last: bool
) -> str | None:
    if not is_last:
        return "its logged model has no artifact root of its own"
    if claim.owns(model) or (claim.experiment and await _is_of_experiment(client, claim, model)):
        return None
    return "it names a logged model that is not the version's own"


async def _is_of_experiment(client: MlflowClient, claim: _Claim, model: LoggedModel) -> bool:
    """Return whether the logged model is in the experiment of the version, which is a run or this model."""
    if not claim.run_id:
        return claim.model_id == model.model_id and not model.run_id
    run = await _get_run(client, claim.run_id)
    return run is not None and run.experiment_id == model.experiment_id


async def _is_in_own_root(client: MlflowClient, claim: _Claim, uri: str) -> bool:
    run = await _get_run(client, claim.run_id) if claim.run_id else None
    if run is not None and is_below(uri, run.artifact_uri):
        return True
    named = _MODEL_FOLDER.search(uri)
    model_ids = dict.fromkeys(filter(None, (claim.model_id, named[1] if named else "")))
    for model_id in model_ids:
        model = await _get_logged_model(client, model_id)
        if model is not None and claim.owns(model) and is_below(uri, model.artifact_uri):
            return True
    return False


async def _get_run(client: MlflowClient, run_id: str) -> Run | None:
    try:
        return await client.get_run(run_id)
    except (NotFound, RequestRejected):
        return None


async def _get_logged_model(client: MlflowClient, model_id: str) -> LoggedModel | None:
    try:
        return await client.get_logged_model(model_id)
    except (NotFound, EndpointNotFound, RequestRejected):
        return None


def is_below(uri: str, root: str) -> bool:
    """Return whether `uri` is `root` or a folder below it, as the stores read both."""
    inner, outer = _split(uri), _split(root)
    if inner is None or outer is None or inner[:2] != outer[:2]:
        return False
    return inner[2][: len(outer[2])] == outer[2]


def _split(uri: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Return the scheme, the place and the folders of a location; None if a folder leads elsewhere."""
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else "file"
    try:
        place, path = _place_and_path(uri, scheme if match else "")
    except ValueError:  # urllib cannot parse it
        return None
    folders = tuple(path.strip("/").split("/"))
    if scheme == "file":
        folders = tuple(folder for folder in folders if folder)
    if not any(folders) or not is_plain_path(folders):
        return None
    return scheme, place, folders


def _place_and_path(uri: str, scheme: str) -> tuple[str, str]:
    """Return both by the rules of the scheme's store; the place of the gateway's own machine is empty."""
    if not scheme:
        return "", uri
    if scheme == "s3":
        place, _, path = uri.partition("://")[2].partition("/")
        return place, path  # in keys, percent, ? and # have no meaning
    parts = urlsplit(uri)
    if scheme == "mlflow-artifacts":
        return "", unquote(parts.path)  # its store lets only the tracking server be the host
    if scheme == "file":
        return parts.netloc if parts.netloc != "localhost" else "", unquote(parts.path)
    return f"{parts.netloc}?{parts.query}#{parts.fragment}", parts.path
