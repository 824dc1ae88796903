"""MLflow's REST API as typed coroutines; only this package sees its JSON and aiohttp's client errors."""

from gateway.mlflow_client.artifacts import ArtifactEntry, ArtifactStream, RunFolder
from gateway.mlflow_client.auth import parse_tracking_url
from gateway.mlflow_client.callers import CallerClient
from gateway.mlflow_client.client import MlflowClient
from gateway.mlflow_client.errors import (
    EndpointNotFound,
    NotAuthenticated,
    NotPermitted,
    Redirected,
    RequestRejected,
)
from gateway.mlflow_client.metric_points import MetricPoint
from gateway.mlflow_client.paging import all_pages
from gateway.mlflow_client.records import Experiment, LoggedModel, Page, RegisteredModel, Run, Version
from gateway.mlflow_client.users import OwnPermissions, ResourceType, User

__all__ = [
    "ArtifactEntry",
    "ArtifactStream",
    "CallerClient",
    "EndpointNotFound",
    "Experiment",
    "LoggedModel",
    "MetricPoint",
    "MlflowClient",
    "NotAuthenticated",
    "NotPermitted",
    "OwnPermissions",
    "Page",
    "Redirected",
    "RegisteredModel",
    "RequestRejected",
    "ResourceType",
    "Run",
    "RunFolder",
    "User",
    "Version",
    "all_pages",
    "parse_tracking_url",
]
