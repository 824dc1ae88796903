"""What is copied from a page is safe to paste, and no answer of a model stops a page, in a real browser."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.console.text import path_segment
from tests.support.try_page import run_line

if TYPE_CHECKING:
    from tests.support.browser import Browser, Page
    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

ERASED: Final = "\x7f" * 300 + "; touch pwned #"  # where a terminal takes what is pasted for keys
SHOWN_BACKWARDS: Final = "\u202e\u2066 nommoc \u2069"
HOSTILE: Final = [
    "'; touch pwned; '",
    '"; touch pwned; "',
    "$(touch pwned) `touch pwned` !touch ${IFS} %PATH% \\",
    "a\nb\r\n\t\x00\x1b[201~touch pwned\n",
    ERASED,
    SHOWN_BACKWARDS,
    "\u2028\u2029\u200b\ufeff\u009b",
    "</script><!--<script>",
    "é 雪 🙂",
]
_SEEN: Final = re.compile(
    r"[\x20-\x7e\n\u00a1-\u00ac\u00ae-\u0603\u0900-\u1fff\u3000-\ud7ff\U0001f000-\U0001ffff]*"
)


async def import_of(page: Page, gateway: Gateway, module: str, script: str) -> Any:
    """Return the value of a JavaScript expression in which `m` is one of the page's modules."""
    await page.open(str(gateway.make_url("/ui/events")))
    address = str(gateway.make_url(f"/ui/static/{module}"))
    return await page.run(f"import({json.dumps(address)}).then((m) => {script})")


@pytest.mark.parametrize("text", HOSTILE)
async def test_code_has_no_character_that_is_a_key(gateway: Gateway, browser: Browser, text: str) -> None:
    """Names and values come out of a shell, and of Python's parser, as they went in; nothing is hidden."""
    page = await browser.new_page()
    body = json.dumps({"inputs": [text], text: 1}, ensure_ascii=False)
    url = f"http://host/model/{path_segment(text)}/1/invocation?details=50"
    request = json.dumps({"url": url, "type": "application/json", "body": body, "withKey": True})
    script = f"m.LANGUAGES.map((language) => [language, m.snippet(language, {request})])"
    code = dict(await import_of(page, gateway, "try/snippets.js", script))
    assert set(code) == {"curl", "Python", "JavaScript", "R"}
    for each in code.values():
        assert _SEEN.fullmatch(each)
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    line = code["curl"].replace("curl ", f"GATEWAY_API_KEY=k; python3 -c '{program}' ", 1)
    arguments = await run_line(line)
    assert json.loads(arguments[-1]) == json.loads(body)
    assert arguments[:2] == ["--globoff", url]
    constants = [node.value for node in ast.walk(ast.parse(code["Python"])) if isinstance(node, ast.Constant)]
    assert {url, body} <= set(filter(lambda value: isinstance(value, str), constants))


@pytest.mark.parametrize(
    "predictions",
    [
        {f"column {number}": [1] for number in range(5_000)},
        [{f"column {number}": 1 for number in range(5_000)}],
        [{"__proto__": 1}, {"constructor": 2, "a": 1}],
        ["x" * 3_000_000],
        {"deep": json.loads("[" * 900 + "]" * 900)},
        [],
        None,
        "<img src=x onerror=alert(1)>",
    ],
    ids=["wide", "wide rows", "names of objects", "long", "deep", "empty", "null", "markup"],
)
async def test_any_answer_is_shown_within_bounds(
    gateway: Gateway, browser: Browser, predictions: Any
) -> None:
    """As a table or as JSON, cut where it is long; names that all objects have are names."""
    page = await browser.new_page()
    text = json.dumps(json.dumps({"predictions": predictions}))
    answer = f"{{text: {text}, headers: new Headers(), seconds: 1}}"
    script = f"""{{ const host = document.createElement("div"); document.body.append(host);
      m.showAnswer(host, {answer}, {{version: "1", inputs: null, other: undefined, announce() {{}}}});
      const count = (selector) => host.querySelectorAll(selector).length;
      return [count("*"), count("img"), host.textContent.length]; }}"""
    elements, images, characters = await import_of(page, gateway, "try/answer.js", script)
    assert 0 < elements < 5_000
    assert 0 < characters < 600_000
    assert images == 0


async def test_the_line_for_the_dockerfile_is_one_line_of_text(gateway: Gateway, browser: Browser) -> None:
    """Whatever stands in requirements, a shell gets each as one argument, and no terminal gets a key."""
    page = await browser.new_page()
    script = f"m.installLine({json.dumps(HOSTILE)})[1].textContent"
    line: str = await import_of(page, gateway, "try/problems.js", script)
    assert line.isprintable()
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    arguments = await run_line(line.replace("RUN pip install", f"python3 -c '{program}'", 1))
    assert arguments[:3] == HOSTILE[:3]
    assert len(arguments) == len(HOSTILE)


async def test_any_stream_ends_and_is_shown_within_bounds(gateway: Gateway, browser: Browser) -> None:
    """What is no event of a conversation is left out, and of the raw parts the first are kept."""
    page = await browser.new_page()
    odd = [
        "null",
        "1",
        "no json",
        '{"type": "response.output_item.done", "item": {"content": "text"}}',
        "[[]]",
    ]
    odd += [
        '{"type": "response.output_item.done", "item": {"content": [null]}}',
        '{"choices": 1, "delta": null}',
    ]
    parts = [*odd, *[json.dumps({"delta": {"content": "<img src=x>"}, "more": "x" * 100})] * 10_000]
    script = f"""{{ const parts = {json.dumps(parts)}.map((part) => `data: ${{part}}\\n\\n`);
      const headers = {{"Content-Type": "text/event-stream"}};
      window.fetch = async () => new Response(new Blob(parts).stream(), {{headers}});
      const host = document.createElement("div");
      document.body.append(host);
      const form = {{field: "messages", messages: [{{role: "user", content: "?"}}], others: "{{}}"}};
      const rest = {{paramsJson: () => "{{}}", announce() {{}}, problemsHost: host, missing: []}};
      const chat = new m.Chat(form, host, {{...rest, url: location.href}});
      return chat.submit().then(() => [host.querySelectorAll("img").length, chat.raw.textContent.length,
        chat.messages.at(-1).content.length, chat.stop.hidden]); }}"""
    images, raw, answered, ended = await import_of(page, gateway, "try/chat.js", script)
    assert (images, answered, ended) == (0, 10_000 * len("<img src=x>"), True)
    assert 100_000 < raw < 600_000
