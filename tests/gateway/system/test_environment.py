"""Proves which environment variables workers get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.system import environment


def test_no_secret_reaches_a_worker() -> None:
    """Settings, credentials and values that look like secrets are removed; the rest is passed on."""
    passed = {"PATH": "/bin", "HOME": "/home/x", "LANG": "C", "OMP_NUM_THREADS": "2", "TMPDIR": "/var/x"}
    removed = {
        "MLFLOW_TRACKING_PASSWORD": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GATEWAY_PORT": "1",
        "GITHUB_TOKEN": "x",
        "my_api_key": "x",
        "PGPASSWORD": "x",
        "HTTPS_PROXY": "http://user:secret@proxy:3128",
        "DATABASE_URL": "postgresql://user:secret@host/db",
        "BROKER_URL": "amqp://user:sec/ret@host",
        "DB_PASS": "x",
        "SSH_PASSPHRASE": "x",
        "SIGNING_KEY": "x",
        "BLOB_SAS": "x",
        "ODBC": "Driver=x;Pwd=secret",
        "SLACK_WEBHOOK": "https://host/x",
    }
    passed |= {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HOME": "/hub",
        "PASSENGERS": "3",
        "GIT_AUTHOR_NAME": "x",
        "PWD": "/srv",
    }
    seen = environment.worker_environment({**passed, **removed}, threads=3)
    assert {name: seen[name] for name in passed} == passed
    assert not removed.keys() & seen.keys()


def test_named_variables_reach_a_worker() -> None:
    """By name or pattern; the gateway's own credentials do not, whatever the pattern."""
    named = {
        "OPENAI_API_KEY": "x",
        "HF_TOKEN": "x",
        "GOOGLE_API_KEY": "x",
        "AWS_REGION": "eu-west-1",
        "DATABASE_URL": "postgresql://user:secret@host/db",
    }
    own = {
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_SESSION_TOKEN": "x",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "x",
        "MLFLOW_TRACKING_URI": "http://user:secret@host",
        "MLFLOW_TRACKING_USERNAME": "x",
        "GATEWAY_MODEL_MLFLOW_TOKEN": "x",
    }
    seen = environment.worker_environment({**named, **own, "OTHER_TOKEN": "x"}, threads=1, allowed=named)
    assert {name: seen.get(name) for name in named} == named
    assert not {*own, "OTHER_TOKEN"} & seen.keys()
    everything = environment.worker_environment({**named, **own}, threads=1, allowed=["*"])
    assert not own.keys() & everything.keys()
    assert named.keys() <= everything.keys()


def test_the_number_of_threads_is_set_for_workers() -> None:
    """Under the name that each library reads, unless the operator has set another number."""
    seen = environment.worker_environment({"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}, threads=3)
    assert seen.pop("OMP_NUM_THREADS") == "7"
    assert seen.pop("OMP_WAIT_POLICY") == "ACTIVE"
    assert seen == dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "3")


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="root on Linux reads everything, and alone can become others",
)
@pytest.mark.parametrize(("hidden", "expected"), [(False, "hunter2"), (True, "PermissionError")])
def test_a_worker_cannot_read_it_from_the_gateway_either(hidden: bool, expected: str) -> None:
    """The kernel shows the environment of a process to other processes of its user, which workers are."""
    become = "import os, ctypes; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    source = Path(environment.__file__).read_text()
    hide = "disable_process_inspection()" if hidden else "pass"
    # A change of the user hides a process too: prctl undoes that first.
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
    assert expected in seen.stdout + seen.stderr
