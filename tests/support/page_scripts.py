"""What hostile pages do, as JavaScript expressions: `G` is the gateway's URL, `R` a place that redirects."""

from __future__ import annotations

import json
from typing import Final

from tests.support.gateways import BODY
from tests.support.web_pages import SUMS

UNLOAD: Final = "/v2/repository/models/api-sums/unload"
LOAD: Final = "/v2/repository/models/api-tens/load"

_BODY: Final = "body: '{}'"
_NO_CORS: Final = "mode: 'no-cors'"
_BLOB: Final = f"body: new Blob([{json.dumps(BODY.decode())}])"


def _post(path: str, *options: str) -> str:
    return f"fetch(G + '{path}', {{method: 'POST', {', '.join(options)}}})"


ATTACKS: Final = {
    "unload, as a form could": _post(UNLOAD, _NO_CORS, _BODY),
    "load, without a body": _post(LOAD, _NO_CORS),
    "invoke, without a content type": _post(SUMS, _NO_CORS, _BLOB),
    "without a referrer": _post(UNLOAD, _NO_CORS, "referrerPolicy: 'no-referrer'", _BODY),
    "with the browser's credentials": _post(UNLOAD, _NO_CORS, "credentials: 'include'", _BODY),
    "outlasting the page": _post(UNLOAD, _NO_CORS, "keepalive: true", _BODY),
    "asking to read": _post(UNLOAD, _BODY),
    "a beacon": f"navigator.sendBeacon(G + '{UNLOAD}', '{{}}')",
    "an old request": f"""new Promise(done => {{
        const request = new XMLHttpRequest(); request.open('POST', G + '{UNLOAD}');
        request.onloadend = () => done(); request.send('{{}}') }})""",
    "a worker's request": f"""new Promise(done => {{
        const code = `const G = '${{G}}'; {_post(UNLOAD, _NO_CORS, _BODY)}.finally(() => postMessage(0))`;
        new Worker(URL.createObjectURL(new Blob([code]))).onmessage = () => done() }})""",
    "a form": f"""new Promise(done => {{
        document.body.innerHTML = `<iframe name=f></iframe><form method=post enctype=text/plain target=f
            action="${{G}}{UNLOAD}"><input name='{{"a":"' value='"}}'></form>`;
        document.querySelector('iframe').onload = () => done();
        document.querySelector('form').submit() }})""",
    "a sandboxed frame": f"""new Promise(done => {{
        const frame = document.createElement('iframe'); frame.sandbox = 'allow-scripts';
        onmessage = () => done();
        frame.srcdoc = `<script>const G = '${{G}}';
            {_post(UNLOAD, _NO_CORS, _BODY)}.finally(() => parent.postMessage(0, '*'))</${{''}}script>`;
        document.body.append(frame) }})""",
    "a redirect that keeps the method": (
        f"fetch(R + '?to=' + encodeURIComponent(G + '{UNLOAD}'), {{method: 'POST', {_NO_CORS}, {_BODY}}})"
    ),
}
"""Requests that change something, each in another way."""

WITHOUT_ORIGIN: Final = {"a sandboxed frame", "a redirect that keeps the method"}
"""Those whose origin is `null`, whatever page sends them."""


def _get(path: str, options: str = "{}", *, result: str = "r.text()") -> str:
    return f"fetch(G + '{path}', {options}).then(r => {result}, () => 'blocked')"


def _element(name: str, address: str, path: str) -> str:
    return f"""new Promise(done => {{
        const e = document.createElement('{name}'); e.rel = 'stylesheet';
        e.onload = () => done('read'); e.onerror = () => done('blocked');
        e.{address} = G + '{path}'; document.body.append(e) }})"""


READS: Final = {
    "a fetch": _get("/model"),
    "a fetch that does not ask": _get("/model", "{mode: 'no-cors'}", result="r.type"),
    "an error": _get("/nowhere"),
    "a fetch with credentials": _get("/model", "{credentials: 'include'}"),
    "events": """new Promise(done => {
        const source = new EventSource(G + '/model'); source.onmessage = () => done('read');
        source.onerror = () => { source.close(); done('blocked') } })""",
    "an image": _element("img", "src", "/docs/favicon-32x32.png"),
    "a script": _element("script", "src", "/docs/start.js"),
    "a style sheet": _element("link", "href", "/docs/swagger-ui.css"),
    "a frame": """new Promise(done => {
        const e = document.createElement('iframe'); e.src = G + '/model';
        e.onload = () => done(e.contentDocument === null ? 'blocked' : 'read'); document.body.append(e) })""",
}
"""Ways to learn something; the value of each is `blocked` if the browser does not let the page."""

UNKNOWN_HEADER: Final = _get("/model", "{headers: {'X-Other': '1'}}")
UNKNOWN_METHOD: Final = _get("/model", "{method: 'DELETE'}")


def invoke(path: str, body: bytes) -> str:
    """Return a request with JSON and credentials of the page; its value is a list of what the page reads."""
    headers = {
        "Content-Type": "application/json",
        "Authorization": "Bearer x",
        "X-API-Key": "y",
        "X-Request-Id": "of-a-page",
    }
    options = json.dumps({"method": "POST", "body": body.decode(), "headers": headers})
    read = "[r.status, r.headers.get('X-Request-Id'), r.headers.get('Model-Version'), await r.text()]"
    return f"fetch(G + '{path}', {options}).then(async r => {read})"
