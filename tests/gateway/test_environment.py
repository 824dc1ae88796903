"""Proves what workers may see of the environment."""

from __future__ import annotations

from gateway import environment


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
    assert environment.for_workers({**passes, **stays}) == passes
