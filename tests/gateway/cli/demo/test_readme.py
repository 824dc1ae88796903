"""Proves that the README and the page of calls show real responses."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.cli.demo.examples import example_calls

if TYPE_CHECKING:
    from tests.gateway.cli.conftest import Demo

ROOT = Path(__file__).parents[4]
README, API = ROOT / "README.md", ROOT / "docs" / "api.md"
SHOWN_AT = "http://127.0.0.1:8080"
LEFT_OUT = "…"


def calls(page: Path) -> list[tuple[str, str]]:
    """Return each command of a page's console blocks with the response below it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = [part.partition("\n") for block in blocks for part in block.split("$ ")[1:]]
    return [(command, answer.strip()) for command, _, answer in found]


def test_every_call_of_the_demo_is_shown() -> None:
    """The README shows what the demo prints, in its order, with the reason of the refusal."""
    shown = calls(README)
    printed = example_calls(SHOWN_AT)
    assert [command for command, _ in shown] == [call.command for call in printed]
    assert all(call.answer in answer for call, (_, answer) in zip(printed, shown, strict=True))


@pytest.mark.parametrize(("command", "answer"), [*calls(README), *calls(API)], ids=lambda text: text[:60])
def test_answers_are_the_shown_ones(command: str, answer: str, demo: Demo) -> None:
    """Each call, run by a shell against the demo, gives the shown answer."""
    done = subprocess.run(
        ["bash", "-c", command.replace(SHOWN_AT, demo.base)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    wanted = ".*".join(re.escape(part) for part in answer.split(LEFT_OUT))
    assert re.fullmatch(wanted, done.stdout.strip(), flags=re.DOTALL), done.stdout
