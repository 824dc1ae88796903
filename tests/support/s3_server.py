"""A real S3 server: Ceph's RADOS gateway, started by a script beside the checkout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from gateway.settings import S3Settings, load
from tests.support.mlflow_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_SCRIPT = Path(__file__).resolve().parents[3] / "shared" / "tools" / "s3-server-ceph-rgw.sh"
_PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "uuidgen", "curl", "openssl")


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server: its address, its folder, the keys of its user, and a bucket."""

    url: str
    folder: Path
    access_key: str = "testaccesskey"
    secret_key: str = "testsecretkey0123456789"  # noqa: S105 - the throwaway server's own
    bucket: str = "mlflow"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the gateway and MLflow use this server."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def pid(self) -> int:
        """The id of the process that serves S3."""
        return int((self.folder / "rgw.pid").read_text())

    def killed(self) -> list[str]:
        """Kill the process that serves S3, and return the command that starts it again."""
        command = Path(f"/proc/{self.pid}/cmdline").read_text().rstrip("\0").split("\0")
        os.kill(self.pid, signal.SIGKILL)
        return command

    def start_again(self, command: list[str]) -> None:
        """Start the process that serves S3; the script that started the server ends it."""
        done = subprocess.run(
            [
                "sh",
                "-c",
                'setsid "$@" >>"$0" 2>&1 </dev/null & echo $!',
                str(self.folder / "rgw.out"),
                *command,
            ],
            env={**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")},
            capture_output=True,
            text=True,
            check=True,
        )
        (self.folder / "rgw.pid").write_text(done.stdout)

    def rados(self, *arguments: str) -> str:
        """Run Ceph's own tool, which changes objects without the S3 server, and return its output."""
        done = subprocess.run(
            ["rados", "-c", str(self.folder / "ceph.conf"), "-p", "default.rgw.buckets.data", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def settings(self, **changes: str) -> S3Settings:
        """Return the gateway's settings for this server."""
        return load({**self.environment, **changes}).s3

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """Yield an S3 client of this server."""
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(
                get_session().create_client(
                    "s3",
                    endpoint_url=self.url,
                    region_name="us-east-1",
                    aws_access_key_id=self.access_key,
                    aws_secret_access_key=self.secret_key,
                    config=AioConfig(s3={"addressing_style": "path"}, warm_up_loader_caches=True),
                )
            )


def script() -> Path:
    """Return the script that starts the server; skip the test if it cannot run."""
    path = Path(os.environ.get("GATEWAY_TEST_S3_SCRIPT", _SCRIPT))
    if not path.is_file():
        pytest.skip(f"no S3 server: there is no {path.name} beside the checkout (GATEWAY_TEST_S3_SCRIPT)")
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no S3 server: {', '.join(missing)} not installed")
    return path


@pytest.fixture(scope="session")
def s3_server(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run a real S3 server in a folder and on ports of its own, for the whole session."""
    path = script()
    server = S3Server(f"http://127.0.0.1:{free_port()}", tmp_path_factory.mktemp("s3") / "w")
    environment = {
        **os.environ,
        # Short: the server's own sockets lie in it.
        "WORKDIR": str(server.folder),
        "S3_PORT": server.url.rpartition(":")[2],
        "CEPH_MON_PORT": str(free_port()),
        "S3_BUCKET": server.bucket,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }
    try:
        done = subprocess.run(
            [str(path), "start"], env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        yield server
    finally:
        subprocess.run([str(path), "stop"], env=environment, capture_output=True, timeout=60, check=False)
