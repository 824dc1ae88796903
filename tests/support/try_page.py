"""The part Try of a version's page, as a person uses it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.support.hands import click

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.browser import Browser, Page
    from tests.support.gateways import Gateway


class TryPage:
    """An open page of one version."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    async def open(cls, browser: Browser, gateway: Gateway, name: str, version: str = "1") -> TryPage:
        """Open the page, and wait until its form is there."""
        page = await browser.new_page()
        await page.open(str(gateway.make_url(f"/ui/models/{quote(name, safe='')}/{version}")))
        await page.wait_for("document.querySelector('#try-form form') !== null")
        return cls(page)

    async def text(self, selector: str) -> str:
        """Return the text that is shown in the first element of the selector."""
        found: str = await self.page.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return found

    async def value(self, selector: str) -> str:
        """Return the value of a control."""
        found: str = await self.page.run(f"document.querySelector({json.dumps(selector)}).value")
        return found

    async def fill(self, selector: str, text: str) -> None:
        """Replace the text of a control, as typing it does."""
        await self.page.type_into(selector, text)

    async def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in the first input of a selector."""
        expression = f"document.querySelector({json.dumps(selector)})"
        found = await self.page.call("Runtime.evaluate", expression=expression)
        await self.page.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    async def predict(self) -> Any:
        """Click Predict, and return the answer that is then shown: JSON, or the texts of a table's rows."""
        await click(self.page, "#try button.primary")
        return await self.answer()

    async def answer(self) -> Any:
        """Wait for the answer. Fail with what is shown in its place."""
        await self.page.wait_for("document.querySelector('#try-result > *') !== null")
        refused = await self.text("#try-result .problems")
        assert not refused, refused
        raw = await self.page.run("document.querySelector('#try-result pre.raw')?.textContent ?? null")
        return json.loads(raw) if raw is not None else await self.rows()

    async def rows(self) -> list[list[str]]:
        """Return the texts of the cells of the predictions, without those of the inputs."""
        script = """[...document.querySelectorAll('#try-result tbody tr')].map(
          (row) => [...row.querySelectorAll('td.prediction')].map((cell) => cell.textContent))"""
        found: list[list[str]] = await self.page.run(script)
        return found

    async def problems(self) -> str:
        """Wait for a refusal, and return its text."""
        await self.page.wait_for("document.querySelector('#try-result .problems') !== null")
        return await self.text("#try-result .problems")

    async def copied(self, language: str) -> str:
        """Click Copy for a language, and return what the clipboard holds then."""
        status = "document.querySelector('#try .status').textContent"
        await self.page.run(f"{status} = ''")
        await click(self.page, f"#try [data-copy={language}]")
        await self.page.wait_for(f"{status} === 'Copied as {language}.'")
        text: str = await self.page.run("navigator.clipboard.readText()")
        return text


async def run_line(line: str) -> Any:
    """Run a line in a shell, and return the JSON that it prints."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error
    return json.loads(out)
