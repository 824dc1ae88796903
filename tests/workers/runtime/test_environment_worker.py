"""The order for a worker of an environment: plain text, that has all of a model's source."""

from __future__ import annotations

import json
import pickletools
from dataclasses import replace

from workers.process.order import plain_order
from workers.protocol.messages import ModelKey, ModelSource
from workers.runtime import environment_worker
from workers.wall.policy import WallPolicy
from workers.worker_environment import WorkerEnvironment

SOURCE = ModelSource(
    ModelKey("wine", "3", "f1"),
    "/models/wine",
    "mlflow",
    "off",
    WorkerEnvironment("digest", "/env/bin/python"),
)
WALL = WallPolicy("require", "none", ("/weights",), ("/cache",), ("/cache/models",))


def test_an_order_has_all_that_a_worker_needs() -> None:
    """The model and the wall come out as they went in; the environment is that of the process."""
    order = json.loads(environment_worker.to_text(SOURCE, "/tmp/worker", WALL))  # noqa: S108 - only a name
    assert environment_worker.source_of(order["model"]) == replace(SOURCE, environment=None)
    assert WallPolicy.from_plain(order["wall"]) == WALL
    assert order["tempdir"] == "/tmp/worker"  # noqa: S108 - as above


def test_an_order_names_one_function_and_has_one_text() -> None:
    """No class of a library or of this Python is in it: another version could not read that."""
    body = plain_order(environment_worker.run, "text", (7,)).body
    named = [
        argument
        for operation, argument, _ in pickletools.genops(body)
        if operation.name == "SHORT_BINUNICODE"
    ]
    assert named == ["workers.runtime.environment_worker", "run", "text"]
