"""The demo's other programs: each runs beside the gateway and never outlives it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# the job runner would cost eight processes; a server on loopback that fails once fails again
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextlib.contextmanager
def run_guarded(
    module: str, *arguments: str, environ: Mapping[str, str], output: IO[bytes] | int, errors: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m module arguments…` while the context lasts; gives its keeper (see `gateway.demo.leash`).

    It ends with the context, and with this process however that ends.
    """
    # nothing of the user's may lead the demo's own MLflow elsewhere
    kept = {name: value for name, value in environ.items() if not name.startswith("MLFLOW_")}
    python = [sys.executable, "-m"]
    keeper = subprocess.Popen(  # noqa: S603  # our own words and a folder, each an argument of its own
        [*python, "gateway.cli.demo.leash", *python, module, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env=kept | MLFLOW_DEFAULTS,
        # Ctrl-C at the terminal reaches the gateway alone, which then ends these in its order
        start_new_session=True,
    )
    with keeper:
        try:
            yield keeper
        finally:
            if keeper.stdin is not None:
                keeper.stdin.close()
            keeper.wait()
