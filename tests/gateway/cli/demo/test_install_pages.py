"""Proves that the documentation's configurations work: nginx in front of the demo, and systemd's unit."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cli.demo.server import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.cli.conftest import Demo

DOCS = Path(__file__).parents[4] / "docs"
ROW = {"alcohol": 13.2, "flavanoids": 2.8, "color_intensity": 4.4, "proline": 1050}
# What a packaged nginx has around the blocks of the page, with every path below one folder.
AROUND = """
daemon off; pid nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
{blocks}
}}
"""
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx on this machine")


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a page in one language."""
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def nginx(folder: Path, text: str) -> list[str]:
    """Write a configuration, and return the command that uses it."""
    (folder / "nginx.conf").write_text(AROUND.format(blocks=text))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


@contextmanager
def proxy(folder: Path, demo: Demo) -> Iterator[str]:
    """Run nginx with the page's first block in front of the demo; gives its address."""
    port, behind = free_port(0), demo.base.removeprefix("http://")
    text = blocks("proxies.md", "nginx")[0]
    text = text.replace("127.0.0.1:8080", behind).replace("listen 80;", f"listen 127.0.0.1:{port};")
    with subprocess.Popen(nginx(folder, text), stderr=subprocess.PIPE) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    """Return the status and the JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def is_up(url: str) -> bool:
    """Whether nginx accepts connections and the gateway behind it answers."""
    try:
        return ask(f"{url}/health/live")[0] == 200
    except OSError:
        return False


@needs_nginx
def test_nginx_passes_on_what_it_must(demo: Demo, tmp_path: Path) -> None:
    """A body beyond nginx's own limit of 1 MiB, and a `%2F` in a name."""
    with proxy(tmp_path, demo) as url:
        asyncio.run(until(lambda: is_up(url)))
        rows = [ROW] * 20_000
        status, answer = ask(f"{url}/model/wine/2/invocation", {"dataframe_records": rows})
        assert (status, len(answer["predictions"])) == (200, len(rows))
        status, answer = ask(f"{url}/model/a%2Fb")
        assert status == 404
        assert "a/b" in answer["message"]


@needs_nginx
def test_every_block_is_valid(tmp_path: Path) -> None:
    """nginx takes all of them together, also the one with several gateways."""
    command = [*nginx(tmp_path, "\n".join(blocks("proxies.md", "nginx"))), "-t"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd on this machine")
def test_the_unit_is_valid(tmp_path: Path) -> None:
    """systemd knows each line of it, and warns of none but that the program is not installed here."""
    (unit,) = blocks("install.md", "ini")
    file = tmp_path / "gateway.service"
    file.write_text(unit.replace("/opt/gateway/bin/gateway", "/bin/true"))
    command = ["systemd-analyze", "verify", "--recursive-errors=no", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in done.stderr.splitlines() if file.name in line] == []
