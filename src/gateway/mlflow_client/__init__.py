"""MLflow's REST API as typed coroutines; the only room that sees its JSON or aiohttp's client errors."""

from gateway.mlflow_client.artifacts import ArtifactEntry, ArtifactStream
from gateway.mlflow_client.auth import tracking_url
from gateway.mlflow_client.client import MlflowClient, every
from gateway.mlflow_client.errors import CallRefused, CallUnknown
from gateway.mlflow_client.records import Experiment, LoggedModel, Page, RegisteredModel, Run, Version

__all__ = [
    "ArtifactEntry",
    "ArtifactStream",
    "CallRefused",
    "CallUnknown",
    "Experiment",
    "LoggedModel",
    "MlflowClient",
    "Page",
    "RegisteredModel",
    "Run",
    "Version",
    "every",
    "tracking_url",
]
