"""Proves what workers may see of the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.system import environment


def test_no_secret_reaches_a_worker() -> None:
    """Settings, upstreams' credentials and whatever looks like a secret stay behind; the rest passes."""
    passes = {"PATH": "/bin", "HOME": "/home/x", "LANG": "C", "OMP_NUM_THREADS": "2", "TMPDIR": "/var/x"}
    stays = {
        "MLFLOW_TRACKING_PASSWORD": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GATEWAY_PORT": "1",
        "GITHUB_TOKEN": "x",
        "my_api_key": "x",
        "PGPASSWORD": "x",
        "HTTPS_PROXY": "http://user:secret@proxy:3128",
        "DATABASE_URL": "postgresql://user:secret@host/db",
    }
    seen = environment.worker_environment({**passes, **stays}, threads=3)
    assert {name: seen[name] for name in passes} == passes
    assert not stays.keys() & seen.keys()


def test_workers_are_told_how_many_threads_to_use() -> None:
    """Every library's own name for it, unless the operator has said otherwise."""
    seen = environment.worker_environment({"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}, threads=3)
    assert seen.pop("OMP_NUM_THREADS") == "7"
    assert seen.pop("OMP_WAIT_POLICY") == "ACTIVE"
    assert seen == dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "3")


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="root on Linux reads everything, and alone can become others",
)
@pytest.mark.parametrize(("hidden", "wanted"), [(False, "hunter2"), (True, "PermissionError")])
def test_a_worker_cannot_read_it_from_the_gateway_either(hidden: bool, wanted: str) -> None:
    """Workers are of the gateway's user, whose environment the kernel shows to its other processes."""
    become = "import os, ctypes; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    source = Path(environment.__file__).read_text()
    hide = "hide_from_workers()" if hidden else "pass"
    # a change of user hides a process as well: begin as one that was that user all along
    begin = f"exec({source!r}); {become}; ctypes.CDLL(None).prctl(4, 1)"
    program = f"{begin}; {hide}; print(os.getpid(), flush=True); input()"
    reader = f"{become}; import sys; print(open(f'/proc/{{sys.argv[1]}}/environ').read())"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "A_SECRET": "hunter2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = process.stdout.readline().strip()
        seen = subprocess.run(
            [sys.executable, "-c", reader, pid], capture_output=True, check=False, text=True
        )
        process.stdin.close()
    assert wanted in seen.stdout + seen.stderr
