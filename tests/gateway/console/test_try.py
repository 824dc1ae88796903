"""A person tries a version in a real browser: by mouse, by keyboard, with files, against other versions."""

from __future__ import annotations

import ast
import base64
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from gateway.auth.access_file.key import new_key
from tests.support import access_files
from tests.support.gateways import gateway_at
from tests.support.hands import click, press, tab_to, write
from tests.support.try_page import TryPage, run_line
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.browser import Browser
    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

INVALID = "document.activeElement.getAttribute('aria-invalid') === 'true'"
DESCRIPTION = "document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent"
_VIOLATIONS = """axe.run('#try').then(({violations}) => violations.map(
  ({id, nodes}) => [id, nodes[0].html, nodes[0].failureSummary]))"""
SUMS = [["0", "0"], ["1", "2"], ["3", "4"]]


async def _fill_rows(page: TryPage, rows: list[list[str]]) -> None:
    await click(page.page, "#try input[value=paste]")
    await page.fill("#paste", "\n".join("\t".join(row) for row in rows))
    await click(page.page, "#try .source:not([hidden]) button")
    await page.page.wait_for(f"document.querySelectorAll('#try .cells tbody tr').length === {len(rows)}")


async def test_a_persons_path_by_mouse(gateway: Gateway, browser: Browser) -> None:
    """From the list to a version, a wrong value, its message in that cell, the value mended, an answer."""
    page = await browser.new_page()
    await page.open(str(gateway.make_url("/")))
    await click(page, "#q")
    await write(page, "api-wine")
    await click(page, ".filters button")
    await page.wait_for("location.search.includes('q=api-wine')")
    await click(page, "a[href$='/ui/models/api-wine']")
    await click(page, "a[href$='/ui/models/api-wine/1']")
    await page.wait_for("document.querySelector('#cell-1-0') !== null")
    tried = TryPage(page)
    assert await tried.value("#cell-0-3") == "1065.0"
    await click(page, "#cell-1-0")
    await write(page, "strong")
    await click(page, "#try button.primary")
    assert "1 cell does not fit the signature" in (problems := await tried.problems()).replace("One", "1")
    assert "row 1, alcohol: not a number" in problems
    assert await page.run("document.activeElement.matches('.problems[role=alert]')")
    await click(page, "#try .problems a")
    await page.wait_for("document.activeElement.id === 'cell-1-0'")
    assert await page.run(INVALID)
    assert "not a number" in await page.run(DESCRIPTION)
    await write(page, "13.2")
    assert not await page.run(INVALID)
    assert len(await tried.predict()) == 2
    request_id = await tried.text("#try-result code")
    assert len(request_id) > 5


async def test_a_persons_path_by_keyboard(gateway: Gateway, browser: Browser) -> None:
    """The same with Tab, Enter, the arrows and Ctrl+Enter alone."""
    page = await browser.new_page()
    await page.open(str(gateway.make_url("/")))
    await tab_to(page, "#q")
    await write(page, "api-wine")
    await press(page, "Enter")
    await page.wait_for("location.search.includes('q=api-wine') && document.readyState === 'complete'")
    for link in ("a[href$='/ui/models/api-wine']", "a[href$='/ui/models/api-wine/1']"):
        await page.wait_for(f"document.querySelector({json.dumps(link)}) !== null")
        await tab_to(page, link)
        await press(page, "Enter")
    await page.wait_for("document.querySelector('#cell-1-0') !== null")
    tried = TryPage(page)
    await tab_to(page, "#cell-0-0")
    await press(page, "ArrowDown")
    await page.wait_for("document.activeElement.id === 'cell-1-0'")
    await write(page, "strong")
    await press(page, "Enter", control=True)
    await tried.problems()
    assert await page.run("document.activeElement.matches('.problems')")
    await press(page, "Tab")
    await press(page, "Enter")
    await page.wait_for("document.activeElement.id === 'cell-1-0'")
    assert "not a number" in await page.run(DESCRIPTION)
    await write(page, "13.2")
    await tab_to(page, "#try button.add")
    await press(page, "Enter")
    await page.wait_for("document.activeElement.id === 'cell-2-0'")
    await press(page, "Tab", times=4)
    assert await page.run("document.activeElement.getAttribute('aria-label')") == "Remove row 2"
    await press(page, "Space")
    await tab_to(page, "#try button.primary")
    await press(page, "Enter")
    assert len(await tried.answer()) == 2


@pytest.mark.usefixtures("try_models")
async def test_long_integers_texts_of_digits_and_nulls_arrive_exactly(
    gateway: Gateway, browser: Browser
) -> None:
    """A browser's numbers would lose the integer, and a spreadsheet the zeros."""
    tried = await TryPage.open(browser, gateway, "try-optional")
    await tried.fill("#cell-0-0", "007")
    await tried.fill("#cell-0-2", "9007199254740993")
    await click(tried.page, "#try .actions [data-copy=curl]")
    answer = json.dumps(await tried.predict())
    assert '"str 007"' in answer
    assert '"int 9007199254740993"' in answer
    line = await tried.copied("curl")
    assert '[["007", null, 9007199254740993, null, null, null]]' in line
    assert json.dumps(await run_line(line)) == answer


async def test_columns_rows_and_many_cells(gateway: Gateway, browser: Browser) -> None:
    """Fifty cells are named and all are counted; the summary leads to each."""
    tried = await TryPage.open(browser, gateway, "api-sums")
    await _fill_rows(tried, [["x", "1"]] * 60)
    await click(tried.page, "#try button.primary")
    problems = await tried.problems()
    assert "60 cells do not fit the signature" in problems
    assert "10 more cells do not fit" in problems
    assert await tried.page.run("document.querySelectorAll('#try .problems a').length") == 50
    assert await tried.page.run("document.querySelectorAll('#try [aria-invalid=true]').length") == 50


async def test_other_versions_are_compared_row_by_row(gateway: Gateway, browser: Browser) -> None:
    """Rows that differ are marked, in words and by a sign."""
    tried = await TryPage.open(browser, gateway, "api-sums")
    await _fill_rows(tried, SUMS)
    await tried.page.wait_for("document.querySelector('#try option[value=\"2\"]') !== null")
    await tried.page.run("document.querySelector('#try option[value=\"2\"]').selected = true")
    assert await tried.predict() == [["0.0"], ["3.0"], ["7.0"]]
    assert "2 of 3 rows differ" in await tried.text("#try-result")
    cells = await tried.page.run(
        "[...document.querySelectorAll('#try-result td.other')].map((c) => c.textContent)"
    )
    assert [cell.split()[0] for cell in cells] == ["0.0", "6.0", "14.0"]
    assert ["≠ differs" in cell for cell in cells] == [False, True, True]


PASTED = [
    ("b\ta\n2\t1\n4\t3\n", [["1", "2"], ["3", "4"]]),
    ("1,2\n3,4", [["1", "2"], ["3", "4"]]),
    ('a;b\r\n"1";2\r\n', [["1", "2"]]),
]


@pytest.mark.parametrize(("text", "rows"), PASTED, ids=["names", "no names", "semicolons"])
async def test_a_spreadsheet_is_pasted_into_a_cell(
    gateway: Gateway, browser: Browser, text: str, rows: list[list[str]]
) -> None:
    """With the names of columns in any order, or without."""
    tried = await TryPage.open(browser, gateway, "api-sums")
    await click(tried.page, "#cell-0-0")
    await tried.page.run(
        f"""(() => {{ const data = new DataTransfer(); data.setData("text/plain", {json.dumps(text)});
        document.activeElement.dispatchEvent(new ClipboardEvent("paste",
          {{clipboardData: data, bubbles: true, cancelable: true}})); }})()"""
    )
    script = """[...document.querySelectorAll('#try .cells tbody tr')].map(
      (row) => [...row.querySelectorAll('td input')].map((input) => input.value))"""
    assert await tried.page.run(script) == rows


@pytest.mark.parametrize("ending", ["csv", "parquet"])
async def test_a_file_is_sent_as_it_is(
    gateway: Gateway, browser: Browser, tmp_path: Path, ending: str
) -> None:
    """By its media type; the copied line sends the file of that name."""
    path = tmp_path / f"it's.{ending}"
    if ending == "csv":
        path.write_text("a,b\n1,2\n3,4\n")
    else:
        parquet.write_table(pa.table({"a": [1.0, 3.0], "b": [2.0, 4.0]}), path)
    tried = await TryPage.open(browser, gateway, "api-sums")
    await click(tried.page, "#try input[value=file]")
    await tried.choose_file("#try .source:not([hidden]) input[type=file]", path)
    await tried.page.wait_for("document.querySelector('#try .editor').hidden")
    assert await tried.predict() == [["3.0"], ["7.0"]]
    line = await tried.copied("curl")
    answer = await run_line(f"cd '{tmp_path}' && {line}")
    assert answer["predictions"] == [3.0, 7.0]


async def test_what_is_missing_is_named_with_its_remedy(gateway: Gateway, browser: Browser) -> None:
    """A model whose packages are not here shows the line for the Dockerfile."""
    tried = await TryPage.open(browser, gateway, "api-lacking")
    await click(tried.page, "#try button.primary")
    problems = await tried.problems()
    assert "cannot be loaded" in problems
    assert "RUN pip install 'a-missing-package" in problems
    assert "request " in problems


async def test_a_busy_gateway_is_asked_again_by_itself(gateway: Gateway, browser: Browser) -> None:
    """The seconds of Retry-After are counted down, and the request is sent once more."""
    tried = await TryPage.open(browser, gateway, "api-sums")
    await _fill_rows(tried, SUMS)
    await tried.page.run(
        """(() => { const real = window.fetch; window.sent = 0; window.said = [];
        new MutationObserver(() => window.said.push(document.querySelector('#try .status').textContent))
          .observe(document.querySelector('#try .status'), {childList: true});
        window.fetch = (url, options) => String(url).includes('/invocation') && ++window.sent === 1
          ? Promise.resolve(new Response('{}', {status: 503, headers: {'Retry-After': '1'}}))
          : real(url, options); })()"""
    )
    assert await tried.predict() == [["0.0"], ["3.0"], ["7.0"]]
    assert await tried.page.run("window.sent") == 2
    assert "The gateway is busy: again in 1 s." in await tried.page.run("window.said")


async def test_my_last_tries_come_back(gateway: Gateway, browser: Browser) -> None:
    """Also after the page was loaded anew, in the same tab."""
    tried = await TryPage.open(browser, gateway, "api-sums")
    await _fill_rows(tried, SUMS)
    await tried.predict()
    await tried.page.open(str(gateway.make_url("/ui/models/api-sums/1")))
    await tried.page.wait_for("document.querySelector('#cell-0-0') !== null")
    await click(tried.page, "#try input[value=tries]")
    assert await tried.value("#cell-2-1") == "4"


@pytest.mark.parametrize("name", ["api-chat", "api-responses"])
async def test_a_conversation(gateway: Gateway, browser: Browser, name: str) -> None:
    """What the model streams appears in the conversation; the raw parts can be seen."""
    tried = await TryPage.open(browser, gateway, name)
    await tried.fill("#try .editor textarea", "hello <b>world</b>")
    await press(tried.page, "Enter", control=True)
    said = "document.querySelector('#try .chat .assistant span')?.textContent"
    await tried.page.wait_for(f"{said} === 'hello<b>world</b>'")
    await tried.page.wait_for("document.querySelector('#try .status').textContent === 'Answered.'")
    parts = await tried.page.run("document.querySelector('#try pre.raw').textContent")
    assert len(parts.strip().splitlines()) == 2
    line = await tried.copied("curl")
    assert "hello <b>world</b>" in line


@pytest.mark.usefixtures("try_models")
async def test_code_of_hostile_names_and_values(gateway: Gateway, browser: Browser) -> None:
    """Markup is text on the page, and no quoting lets a name or a value out: all code sends the same body."""
    tried = await TryPage.open(browser, gateway, "try-hostile")
    assert await tried.page.run("document.querySelectorAll('#try img[src=x]').length") == 0
    assert "<img src=x onerror=alert(1)>" in await tried.text("#try .cells thead")
    shown = await tried.predict()
    assert shown["predictions"]["columns"]
    assert await run_line(await tried.copied("curl")) == shown
    code = await tried.copied("Python")
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    (body,) = [node.value for node in calls if isinstance(node.value, str) and node.value.startswith("{")]
    async with gateway.post(
        "/model/try-hostile/1/invocation", data=body.encode(), headers={"Content-Type": "application/json"}
    ) as answer:
        assert await answer.json() == shown
    script = await tried.copied("JavaScript")
    sent = f"""(() => {{ let body; const console = {{log() {{}}}};
      const fetch = async (_, options) => {{ body = options.body; return {{ok: true, json() {{}}}}; }};
      return (async () => {{ {script} }})().then(() => body); }})()"""
    assert await tried.page.run(sent) == body


async def test_axe_finds_nothing(gateway: Gateway, browser: Browser) -> None:
    """In light and dark, wide and narrow, with an answer and with problems."""
    axe = _axe()
    tried = await TryPage.open(browser, gateway, "api-wine")
    await tried.fill("#cell-1-0", "strong")
    await click(tried.page, "#try button.primary")
    await tried.problems()
    await tried.page.run(axe)
    for scheme in ("light", "dark"):
        preference = {"name": "prefers-color-scheme", "value": scheme}
        await tried.page.call("Emulation.setEmulatedMedia", features=[preference])
        for width in (1280, 360):
            metrics: dict[str, Any] = {"height": 900, "deviceScaleFactor": 1, "mobile": False}
            await tried.page.call("Emulation.setDeviceMetricsOverride", width=width, **metrics)
            found = await tried.page.run(_VIOLATIONS)
            assert found == [], f"{scheme} {width}"


def _axe() -> str:
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text() + ";0"


async def test_a_key_is_sent_and_never_copied(
    mlflow_server: MlflowServer, registered: list[str], browser: Browser, tmp_path: Path
) -> None:
    """Where callers show keys, the page asks for one; the code names a variable in its place."""
    key = new_key()[0]
    rights = 'grants: {read: "*", invoke: "*"}'
    file = access_files.write(tmp_path / "keys.yaml", "keys:\n" + access_files.entry(key, "me", rights))
    values = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(file)}
    async with gateway_at(mlflow_server.url, tmp_path / "cache", **values) as gateway:
        page = await browser.new_page()
        await page.open(str(gateway.make_url("/ui/models/api-sums/2")))
        await page.wait_for("document.getElementById('ask')?.hidden === false")
        await page.type_into("#key", key)
        await press(page, "Enter")
        await page.wait_for("document.querySelector('#cell-0-0') !== null")
        tried = TryPage(page)
        await tried.fill("#cell-0-0", "1")
        await tried.fill("#cell-0-1", "2")
        assert await tried.predict() == [["6.0"]]
        for language in ("curl", "Python", "JavaScript", "R"):
            code = await tried.copied(language)
            assert key not in code
            assert "GATEWAY_API_KEY" in code
        line = await tried.copied("curl")
        assert (await run_line(f"GATEWAY_API_KEY={key}\n{line}"))["predictions"] == [6.0]


async def test_answers_are_downloaded(gateway: Gateway, browser: Browser, tmp_path: Path) -> None:
    """As a table in CSV, and as the JSON that came."""
    tried = await TryPage.open(browser, gateway, "api-sums")
    await browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    await _fill_rows(tried, SUMS)
    await tried.predict()
    await click(tried.page, "#try-result .actions button:first-child")
    await until((tmp_path / "predictions.csv").exists)
    await click(tried.page, "#try-result .actions button:last-child")
    await until((tmp_path / "predictions.json").exists)
    assert (tmp_path / "predictions.csv").read_text().split() == ["prediction", "0.0", "3.0", "7.0"]
    assert json.loads((tmp_path / "predictions.json").read_text())["predictions"] == [0.0, 3.0, 7.0]


@pytest.mark.usefixtures("try_models")
async def test_a_file_in_a_cell(gateway: Gateway, browser: Browser, tmp_path: Path) -> None:
    """Its bytes are sent as base64, and an image is shown, within the page's security policy."""
    image = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    path = tmp_path / "dot.png"
    path.write_bytes(image)
    tried = await TryPage.open(browser, gateway, "try-scalars")
    await tried.page.run(
        "window.broken = 0; addEventListener('securitypolicyviolation', () => { window.broken += 1 })"
    )
    await tried.choose_file("#try .cells input[type=file]", path)
    await tried.page.wait_for("document.querySelector('#try .preview').naturalWidth === 1")
    assert f"bytes {image.hex()}" in json.dumps(await tried.predict())
    assert await tried.page.run("window.broken") == 0


async def test_a_key_that_no_header_can_hold_does_not_lock_a_person_out(
    mlflow_server: MlflowServer, registered: list[str], browser: Browser, tmp_path: Path
) -> None:
    """The page asks again; a key that is right, but not for one page, is kept for the others."""
    key = new_key()[0]
    rights = 'grants: {read: "*"}'
    file = access_files.write(tmp_path / "keys.yaml", "keys:\n" + access_files.entry(key, "me", rights))
    values = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(file)}
    async with gateway_at(mlflow_server.url, tmp_path / "cache", **values) as gateway:
        page = await browser.new_page()
        await page.open(str(gateway.make_url("/ui/gateway")))
        for typed, told in (("ключ", "does not answer"), (key, "right `status`")):
            await page.wait_for("document.getElementById('ask')?.hidden === false")
            await page.type_into("#key", typed)
            await press(page, "Enter")
            await page.wait_for(f"document.getElementById('key-problem').textContent.includes({told!r})")
        await page.open(str(gateway.make_url("/ui/events")))
        await page.wait_for("document.querySelector('main h1')?.textContent === 'Events'")
