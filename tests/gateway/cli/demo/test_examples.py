"""Proves that the demo's models answer the examples of the API's description and of the documentation."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.gateway.cli.conftest import Demo

DOCS = Path(__file__).parents[4] / "docs"
INVOCATION = "/model/wine/@champion/invocation"
INFERENCE = "/v2/models/wine/infer"


def call(demo: Demo, path: str, body: bytes | None = None, media_type: str = "application/json") -> Any:
    """Call the demo and return the JSON of its response; raise an error if that is no success."""
    request = urllib.request.Request(demo.base + path, body, {"Content-Type": media_type})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
        return json.load(response)


def answers(demo: Demo, path: str) -> bool:
    """Whether the demo knows this path already."""
    try:
        return bool(call(demo, path))
    except urllib.error.HTTPError:
        return False


def examples(content: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Return the media type and the bytes of each example of a request body."""
    found: list[tuple[str, bytes]] = []
    for media_type, described in content.items():
        values = [example["value"] for example in described.get("examples", {}).values()]
        values += [described["example"]] if "example" in described else []
        found += [(media_type, encode(value)) for value in values]
    return found


def encode(value: Any) -> bytes:
    """Return an example as bytes: a CSV example is text, a JSON example is a value."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@pytest.mark.parametrize(
    ("body", "path", "least"), [("Invocation", INVOCATION, 5), ("V2Inference", INFERENCE, 1)]
)
def test_every_example_of_a_body_is_answered(body: str, path: str, least: int, demo: Demo) -> None:
    """The console's «Try it out» gets a prediction for each."""
    described = call(demo, "/openapi.json")["components"]["requestBodies"][body]["content"]
    found = examples(described)
    assert len(found) >= least
    for media_type, value in found:
        response = call(demo, path, value, media_type)
        assert response.get("predictions", response.get("outputs"))


@pytest.mark.parametrize("page", ["formats.md", "open-inference.md"])
def test_the_calls_of_a_page_run(page: str, demo: Demo) -> None:
    """The demo answers each call in a block of shell on the page."""
    blocks = re.findall(
        r"^```(?:sh|bash|console)\n(.*?)^```$", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE
    )
    calls = [block for block in blocks if "curl" in block]
    assert calls
    for block in calls:
        script = block.replace("http://127.0.0.1:8080", demo.base)
        done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout
        assert '"error' not in done.stdout


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_programs_of_the_page_of_calls_run(language: str, demo: Demo) -> None:
    """Each, as it stands, gets its predictions from the demo."""
    runner = {"python": [sys.executable, "-"], "javascript": ["node", "--input-type=module", "-"]}[language]
    if shutil.which(runner[0]) is None:
        pytest.skip(f"there is no {runner[0]} on this machine")
    text = (DOCS / "api.md").read_text()
    programs = re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert programs
    for program in programs:
        code = program.replace("http://127.0.0.1:8080", demo.base)
        done = subprocess.run(runner, input=code, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "0" in done.stdout


@pytest.mark.slow
def test_from_a_notebook_to_a_url(demo: Demo) -> None:
    """The page's code logs a model, calls it by curl and by Python, and names it; the alias then answers."""
    page = (DOCS / "notebook-to-url.md").read_text()
    page = page.replace("http://127.0.0.1:8080", demo.base).replace("http://127.0.0.1:5000", demo.mlflow)
    log, ask, name = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    (curl,) = re.findall(r"^```sh\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    code = log + ask + name
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\[\d, \d, \d\]$", done.stdout, flags=re.MULTILINE)
    answer = subprocess.run(["bash", "-ec", curl], capture_output=True, text=True, check=True).stdout
    assert json.loads(answer)["model"] == {"name": "wine-notebook", "version": "1", "source": "registry"}
    alias = "/model/wine-notebook/@champion"
    asyncio.run(until(lambda: answers(demo, alias)))
    assert call(demo, alias)["version"] == "1"
