"""A real MLflow server with basic authentication, its users, and what they may do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from tests.support import mlflow_server
from tests.support.shared import end_with_run, once

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

Kind = Literal["registered_model", "experiment", "registered_model_version"]

ADMIN = "admin"
PASSWORD = "password-of-{}"  # noqa: S105 - of users of these tests
LEVELS = ("READ", "USE", "EDIT", "MANAGE", "DENY", "")
_CONFIGURATION = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///users.db
admin_username = admin
admin_password = password-of-admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""  # right passwords are checked once: 0.2 s of computing each; MLflow 2 has no such cache
_OPTIONS = ("--app-name", "basic-auth")


@dataclass(frozen=True, slots=True)
class UsersServer:
    """A running server whose users may do nothing that they were not permitted."""

    url: str
    major: int = 3

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, user: str = ADMIN
    ) -> tuple[int, Any]:
        """Call the REST API as `user`; return the status and the JSON."""
        request = urllib.request.Request(  # noqa: S310 - an http address of this machine
            f"{self.url}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": basic(user)},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - as above
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def do(self, method: str, path: str, body: dict[str, Any], *, user: str = ADMIN) -> Any:
        """Call the REST API; it must succeed."""
        status, answer = self.call(method, path, body, user=user)
        assert status == 200, answer
        return answer

    def create_user(self, name: str) -> None:
        """Create a user with the password that `secret` has."""
        self.do("POST", "2.0/mlflow/users/create", {"username": name, "password": PASSWORD.format(name)})

    def create_model(self, name: str, *, user: str = ADMIN, prompt: bool = False) -> None:
        """Create a registered model without versions, or a prompt; `user` may manage it."""
        tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}] if prompt else []
        self.do("POST", "2.0/mlflow/registered-models/create", {"name": name, "tags": tags}, user=user)

    def create_experiment(self, name: str, *, user: str = ADMIN) -> str:
        """Create an experiment, which `user` may manage, and return its id."""
        found = self.do("POST", "2.0/mlflow/experiments/create", {"name": name}, user=user)
        experiment: str = found["experiment_id"]
        return experiment

    def permit(self, user: str, kind: Kind, key: str, level: str) -> None:
        """Give a user a permission on a registered model by its name or an experiment by its id."""
        if self.major == 2:
            field = "name" if kind == "registered_model" else "experiment_id"
            plural = "registered-models" if kind == "registered_model" else "experiments"
            body = {"username": user, field: key, "permission": level}
            self.do("POST", f"2.0/mlflow/{plural}/permissions/create", body)
            return
        body = {"username": user, "resource_type": kind, "resource_id": key, "permission": level}
        self.do("POST", "3.0/mlflow/users/permissions/grant", body)

    def withdraw(self, user: str, kind: Kind, key: str) -> None:
        """Take a permission away."""
        body = {"username": user, "resource_type": kind, "resource_id": key}
        self.do("POST", "3.0/mlflow/users/permissions/revoke", body)

    def set_password(self, user: str, password: str) -> None:
        """Give a user another password."""
        self.do("PATCH", "2.0/mlflow/users/update-password", {"username": user, "password": password})

    def delete_user(self, user: str) -> None:
        """Delete a user."""
        self.do("DELETE", "2.0/mlflow/users/delete", {"username": user})

    def get(self, path: str, *, user: str, **params: str) -> int:
        """Return the status of a call as `user`."""
        return self.call("GET", f"{path}?{urlencode(params)}", user=user)[0]


def secret(user: str) -> str:
    """Return a user's name and password as in `Authorization: Basic`."""
    return f"{user}:{PASSWORD.format(user)}"


def basic(user: str) -> str:
    """Return the `Authorization` header of a user."""
    return f"Basic {b64encode(secret(user).encode()).decode()}"


def shared_users_server(factory: pytest.TempPathFactory) -> UsersServer:
    """Return the MLflow 3 server that all test processes of this run share; tests use names of their own."""

    def make(folder: Path) -> dict[str, str]:
        server, process = mlflow_server.start(folder, options=_OPTIONS, extra=_environment(folder))
        end_with_run(factory, process.pid)
        mlflow_server.keep(process)
        return {"url": server.url}

    return UsersServer(once(factory, "mlflow-users", make)["url"])


@contextmanager
def users_server(folder: Path, *, python: str, major: int) -> Iterator[UsersServer]:
    """Run a server of its own, by the Python that has its MLflow."""
    with mlflow_server.mlflow_server(
        folder, python=python, options=_OPTIONS, extra=_environment(folder)
    ) as server:
        yield UsersServer(server.url, major)


def _environment(folder: Path) -> dict[str, str]:
    configuration = Path(folder) / "basic_auth.ini"
    configuration.write_text(_CONFIGURATION)
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests",
    }
