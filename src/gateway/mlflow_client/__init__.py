"""MLflow's REST API as typed coroutines; only this package sees its JSON and aiohttp's client errors."""

from gateway.mlflow_client.artifacts import ArtifactEntry, ArtifactStream
from gateway.mlflow_client.auth import parse_tracking_url
from gateway.mlflow_client.client import MlflowClient, all_pages
from gateway.mlflow_client.errors import EndpointNotFound, RequestRejected
from gateway.mlflow_client.records import Experiment, LoggedModel, Page, RegisteredModel, Run, Version

__all__ = [
    "ArtifactEntry",
    "ArtifactStream",
    "EndpointNotFound",
    "Experiment",
    "LoggedModel",
    "MlflowClient",
    "Page",
    "RegisteredModel",
    "RequestRejected",
    "Run",
    "Version",
    "all_pages",
    "parse_tracking_url",
]
