"""Run a worker process of an environment, by an order of plain text.

Its Python may be another version than the gateway's.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from workers.forkserver import received
from workers.protocol.messages import ModelKey, ModelSource
from workers.runtime import main
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping


def to_text(source: ModelSource, tempdir_path: str, wall: WallPolicy) -> str:
    """Return the order that `run` reads, for a worker of this model."""
    names = (field.name for field in fields(source) if field.name != "environment")
    model = {name: getattr(source, name) for name in names}
    return json.dumps({"model": model, "tempdir": tempdir_path, "wall": asdict(wall)})


def run(text: str) -> None:
    """Load the model of an order and answer batches, as `main` does for the executor.

    The socket for batches is the only descriptor that came with the order.
    """
    order = json.loads(text)
    wall = WallPolicy.from_plain(order["wall"])
    sock = socket.socket(fileno=received.descriptors[0])
    main.initialize(source_of(order["model"]), sock, order["tempdir"], wall)
    main.serve()


def source_of(model: Mapping[str, Any]) -> ModelSource:
    """Return the source whose fields came as JSON; its environment is that of this process."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in model.items()
    }
    values["key"] = ModelKey(*model["key"])
    return ModelSource(**values)
