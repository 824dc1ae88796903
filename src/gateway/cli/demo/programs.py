"""Run the demo's other programs, so that none of them outlives the gateway."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import IO, TYPE_CHECKING

from gateway.system.environment import public_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The job runner would take eight processes. A request to a server on loopback that fails once fails again.
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextlib.contextmanager
def run_guarded(
    module: str,
    *arguments: str,
    environ: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
    output: IO[bytes] | int | None,
    errors: IO[bytes],
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module arguments…` until the context ends, and yield its process guard.

    Its environment has what is public of `environ`, and `settings`. `output` None: it writes where this
    process does. The program also ends if this process is killed: see `gateway.cli.demo.process_guard`.
    """
    # The user's MLflow settings must not lead the demo's programs to another server. Models can read the
    # environment of these programs, which need no secret.
    public = public_environment(environ)
    kept = {name: value for name, value in public.items() if not name.startswith("MLFLOW_")}
    python = [sys.executable, "-m"]
    guard = subprocess.Popen(  # noqa: S603  # fixed words and a folder, each an argument of its own
        [*python, "gateway.cli.demo.process_guard", *python, module, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env=kept | MLFLOW_DEFAULTS | dict(settings or {}),
        start_new_session=True,  # Ctrl-C must reach the gateway alone, which ends the programs in order
    )
    with guard:
        try:
            yield guard
        finally:
            if guard.stdin is not None:
                guard.stdin.close()
            guard.wait()
