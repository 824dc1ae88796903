"""The whole environment of worker processes, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yarl import URL

from gateway.settings.capacity import threads_per_worker
from gateway.system import environment
from workers.devices.inventory import VISIBLE_DEVICES
from workers.environment import NO_MLFLOW_URI

if TYPE_CHECKING:
    from gateway.settings.schema import Settings


def worker_environment(settings: Settings, *, hide_devices: bool = False) -> dict[str, str]:
    """Return the environment that workers, and so the models, see.

    With `hide_devices`, CUDA finds no device in the fork server, nor in a worker that is given none.
    """
    public = environment.worker_environment(
        settings.environment,
        threads=threads_per_worker(settings),
        allowed=settings.model_access.environment,
    )
    hidden = {VISIBLE_DEVICES: ""} if hide_devices else {}
    return public | hidden | _mlflow_variables(settings)


def _mlflow_variables(settings: Settings) -> dict[str, str]:
    """Return the variables by which MLflow's client in a worker finds the server, or that there is none."""
    access, mlflow = settings.model_access, settings.mlflow
    if access.mlflow == "none":
        return {"MLFLOW_TRACKING_URI": NO_MLFLOW_URI}
    variables = {
        "MLFLOW_TRACKING_URI": _without_user(mlflow.tracking_uri),
        "MLFLOW_REGISTRY_URI": _without_user(mlflow.registry_uri),
        "MLFLOW_WORKSPACE": mlflow.workspace,
        "MLFLOW_TRACKING_USERNAME": access.mlflow_username,
        "MLFLOW_TRACKING_PASSWORD": access.mlflow_password.get_secret_value(),
        "MLFLOW_TRACKING_TOKEN": access.mlflow_token.get_secret_value(),
        "MLFLOW_TRACKING_INSECURE_TLS": "true" if mlflow.insecure_tls else "",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(mlflow.server_cert_path or ""),
    }
    return {name: value for name, value in variables.items() if value}


def _without_user(address: str) -> str:
    """Return an address without the gateway's own user name and password."""
    return str(URL(address).with_user(None)) if "@" in address else address
