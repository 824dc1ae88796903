"""`deploy/nginx/nginx.conf` in front of two servers: one model, one server; a dead server's models move."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.cli.demo.server import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "deploy/nginx/nginx.conf"
MODELS = [f"model-{number}" for number in range(40)]
pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx on this machine")


class Server:
    """A server in a process of its own, until `kill` or the end of the block."""

    def __init__(self, port: int = 0) -> None:
        command = [sys.executable, "-m", "tests.support.programs.named_server", str(port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it without a word, as the machine's kernel would."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def ask(port: int, path: str, method: str = "POST") -> tuple[int, str]:
    """Return the port of the server that answered, and the path that it got."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        assert answer.status == 200
        server, seen = json.loads(answer.read())
        return server, seen
    finally:
        connection.close()


def answers(port: int) -> bool:
    """Whether nginx accepts connections and passes them on."""
    try:
        return bool(ask(port, "/health/live", "GET"))
    except OSError:
        return False


def homes(port: int) -> dict[str, int]:
    """Return the server of each model."""
    return {model: ask(port, f"/model/{model}/1/invocation")[0] for model in MODELS}


@contextmanager
def nginx(folder: Path, upstreams: list[int]) -> Iterator[int]:
    """Run nginx with the published configuration in front of two servers; gives its port."""
    port = free_port(0)
    text = CONFIGURATION.read_text()
    for published, upstream in zip(("10.0.0.5:8080", "10.0.0.6:8080"), upstreams, strict=True):
        assert text.count(published) == 1
        text = text.replace(published, f"127.0.0.1:{upstream}")
    text = text.replace("fail_timeout=5s", "fail_timeout=1s").replace(
        "listen 80;", f"listen 127.0.0.1:{port};"
    )
    file = folder / "nginx.conf"
    file.write_text(text.replace("/tmp/", f"{folder}/"))  # noqa: S108 - the file's own
    command = ["nginx", "-p", str(folder), "-c", str(file), "-e", "stderr", "-g", "daemon off;"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


async def test_a_model_has_one_gateway_until_that_dies(tmp_path: Path) -> None:
    """Versions, aliases and protocols of one model meet; a death moves its models alone; they come back."""
    with Server() as first, Server() as second, nginx(tmp_path, [first.port, second.port]) as port:
        await until(lambda: answers(port))
        before = homes(port)
        assert set(before.values()) == {first.port, second.port}
        for model, home in before.items():
            for path in (f"/model/{model}/latest/invocation", f"/models/{model}/@champion/invocation"):
                assert ask(port, path)[0] == home
            assert ask(port, f"/v2/models/{model}/versions/3/infer")[0] == home
            assert ask(port, f"/endpoints/{model}/invocations")[0] == home

        second.kill()
        assert set(homes(port).values()) == {first.port}

        with Server(second.port):
            await until(lambda: homes(port) == before, interval=0.2)


async def test_paths_and_pages_pass(tmp_path: Path) -> None:
    """`%2F` in a name stays as it came, and what names no model goes to one gateway for one client."""
    with Server() as first, Server() as second, nginx(tmp_path, [first.port, second.port]) as port:
        await until(lambda: answers(port))
        path = "/model/a%2Fb/1/invocation?stream=true"
        assert ask(port, path)[1] == path
        assert len({ask(port, f"/ui/page-{number}", "GET")[0] for number in range(20)}) == 1


def test_the_time_limits_fit_the_settings() -> None:
    """nginx waits longer than the gateway does at its defaults, and keeps connections for less."""
    text = CONFIGURATION.read_text()
    seconds = {name: int(value) for name, value in re.findall(r"(\w+) +(\d+)s;", text)}
    assert seconds["proxy_read_timeout"] > 360
    assert seconds["keepalive_timeout"] < 75
