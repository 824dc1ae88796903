"""Users of the MLflow server as callers, with the rights that they have there."""

from gateway.auth.mlflow.authenticator import MlflowAuthenticator
from gateway.auth.mlflow.bounds import Bounds

__all__ = ["Bounds", "MlflowAuthenticator"]
