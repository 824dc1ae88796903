"""Who is measured: a table. A new variant is one more line of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks import starts

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from benchmarks.stage import Stage
    from benchmarks.starts import Running, Start

ROOT = Path(__file__).resolve().parents[1]
OWN = Path(sys.executable)
MLSERVER = ROOT / ".venv-mlserver" / "bin" / "python"
LITSERVE = ROOT / ".venv-litserve" / "bin" / "python"

Role = Literal["ours", "floor", "mlflow", "other"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to measure.

    `role` is what the goals know it as: our own, the floor that no server can go below, MLflow's own
    server, or another one. `settings` are the gateway's. `brief`: `--quick` measures it too.
    """

    name: str
    role: Role
    start_it: Start
    python: Path = OWN
    packages: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    brief: bool = True

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return self.name.replace(" ", "-").replace(",", "").lower()

    def start(self, stage: Stage, model: str, folder: Path) -> AbstractContextManager[Running]:
        """It, running, with the model of that name."""
        return self.start_it(self.python, stage, model, folder / f"{self.slug}-{model}", self.settings)

    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        if not self.python.exists():
            return f"there is no {self.python.relative_to(ROOT)}; `make bench` makes it"
        known = (ROOT / "env.template").read_text()
        unknown = [name for name in self.settings if f"{name}=" not in known]
        return f"this gateway does not know {', '.join(unknown)}" if unknown else None


GATEWAY = "gateway"
UNMERGED = "gateway, batching off"
DOUBLE = "gateway, 2 processes"
ECHO = "aiohttp echo"
MLFLOW = "mlflow models serve"
PLAIN_MLSERVER = "MLServer"
_OURS = ("aiohttp", "uvloop", "orjson", "mlflow", "pandas", "numpy", "scikit-learn")
_MLSERVER = ("mlserver", "mlserver-mlflow", "uvloop", "fastapi", "mlflow", "pandas", "numpy", "scikit-learn")
_LITSERVE = ("litserve", "uvloop", "fastapi", "mlflow", "pandas", "numpy", "scikit-learn")
_MLFLOW = ("mlflow", "fastapi", "uvicorn", "pandas", "numpy", "scikit-learn")

CONTENDERS = (
    Contender(GATEWAY, "ours", starts.gateway, packages=_OURS),
    Contender(
        UNMERGED, "ours", starts.gateway, packages=_OURS, settings={"GATEWAY_BATCHING": "off"}, brief=False
    ),
    Contender(
        DOUBLE, "ours", starts.gateway, packages=_OURS, settings={"GATEWAY_PROCESSES": "2"}, brief=False
    ),
    Contender(ECHO, "floor", starts.echo, packages=("aiohttp", "uvloop")),
    Contender(MLFLOW, "mlflow", starts.mlflow_models_serve, packages=_MLFLOW),
    Contender(PLAIN_MLSERVER, "other", starts.mlserver(), MLSERVER, _MLSERVER, brief=False),
    Contender(
        "MLServer, batching",
        "other",
        starts.mlserver(max_batch_size=64, max_batch_time=0.005),
        MLSERVER,
        _MLSERVER,
    ),
    Contender("LitServe", "other", starts.litserve(), LITSERVE, _LITSERVE, brief=False),
    Contender("LitServe, batching", "other", starts.litserve(batch=64, seconds=0.001), LITSERVE, _LITSERVE),
)
