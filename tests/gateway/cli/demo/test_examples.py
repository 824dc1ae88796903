"""What the API's description gives as examples is answered by the demo's models."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.gateway.cli.conftest import Demo

DOCS = Path(__file__).parents[4] / "docs"
INVOCATION = "/model/wine/@champion/invocation"
INFERENCE = "/v2/models/wine/infer"


def told(demo: Demo, path: str, body: bytes | None = None, media_type: str = "application/json") -> Any:
    """What the demo answers, as JSON; anything but a success is an error."""
    request = urllib.request.Request(demo.base + path, body, {"Content-Type": media_type})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        return json.load(answer)


def examples(content: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Each example of a request body: its media type and its bytes."""
    found: list[tuple[str, bytes]] = []
    for media_type, described in content.items():
        values = [example["value"] for example in described.get("examples", {}).values()]
        values += [described["example"]] if "example" in described else []
        found += [(media_type, encoded(value)) for value in values]
    return found


def encoded(value: Any) -> bytes:
    """A CSV example is text, a JSON example is what the text would mean."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@pytest.mark.parametrize(
    ("body", "path", "least"), [("Invocation", INVOCATION, 5), ("V2Inference", INFERENCE, 1)]
)
def test_every_example_of_a_body_is_answered(body: str, path: str, least: int, demo: Demo) -> None:
    """Whoever presses «Try it out» sees an answer."""
    described = told(demo, "/openapi.json")["components"]["requestBodies"][body]["content"]
    found = examples(described)
    assert len(found) >= least
    for media_type, value in found:
        answer = told(demo, path, value, media_type)
        assert answer.get("predictions", answer.get("outputs"))


@pytest.mark.parametrize("page", ["formats.md", "open-inference.md"])
def test_the_pages_calls_run(page: str, demo: Demo) -> None:
    """Each block of shell on the page is a call of the demo that is answered."""
    blocks = re.findall(
        r"^```(?:sh|bash|console)\n(.*?)^```$", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE
    )
    calls = [block for block in blocks if "curl" in block]
    assert calls
    for call in calls:
        script = call.replace("http://127.0.0.1:8080", demo.base)
        done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout
        assert '"error' not in done.stdout
