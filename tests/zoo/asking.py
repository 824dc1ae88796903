"""One body sent to the gateway, MLflow's scoring server and the model itself, and what they said."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import aiohttp

    from tests.support.gateways import Gateway
    from tests.zoo.forms import Body

Outcome = Literal["answers", "refuses", "raises", "has no form"]


@dataclass(frozen=True, slots=True)
class Told:
    """What a server answered; `value` is the predictions, or the whole body where they are not wrapped."""

    status: int
    text: str
    value: Any = None

    @property
    def canonical(self) -> str:
        """The value as text that is equal for equal JSON values only; 1 and 1.0 differ, NaN is NaN."""
        return canonical(self.value)


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the model itself did with the data that MLflow made of the body."""

    outcome: Outcome
    value: Any = None
    type: str = ""


def canonical(value: Any) -> str:
    """One text for all equal JSON values."""
    return json.dumps(_named(value), sort_keys=True)


def _named(value: Any) -> Any:
    """Numbers that JSON does not have, as objects that no answer holds."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"not in JSON": repr(value)}
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list) else value


async def gateway_says(gateway: Gateway, model: str, body: Body, *, route: str = "invocation") -> Told:
    """The gateway's answer, which must be valid JSON whatever it says."""
    headers = {"Content-Type": body.media_type}
    async with gateway.post(f"/model/{model}/1/{route}", data=body.content, headers=headers) as answer:
        text = await answer.text()
        document = json.loads(text, parse_constant=_invalid)
        return Told(answer.status, text, unwrapped(document) if answer.status == 200 else document)


async def server_says(session: aiohttp.ClientSession, url: str, body: Body) -> Told:
    """The scoring server's answer; its value is None where it is no JSON."""
    async with session.post(url, data=body.content, headers={"Content-Type": body.media_type}) as answer:
        text = await answer.text()
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        return Told(answer.status, text, unwrapped(document) if answer.status == 200 else document)


async def model_says(session: aiohttp.ClientSession, url: str, body: Body) -> Predicted:
    """What `load_model(...).predict(...)` gives."""
    async with session.post(url, data=body.content, headers={"Content-Type": body.media_type}) as answer:
        told = json.loads(await answer.text())
        return Predicted(told["outcome"], told.get("value"), told.get("type", ""))


def agree(here: Told, there: Told, *, itself: Predicted) -> None:
    """Equal status, and equal predictions to the last bit; a refusal is one for all three."""
    assert (here.status, itself.outcome) in {
        (200, "answers"),
        (400, "refuses"),
        (500, "raises"),
        (500, "has no form"),
    }, f"{here.text} | {there.text[:400]} | {itself}"
    assert here.status == there.status, f"{here.text} | {there.text[:400]} | {itself}"
    if here.status == 200:
        assert here.canonical == there.canonical
        assert here.canonical == canonical(itself.value)


def unwrapped(document: Any) -> Any:
    if (
        isinstance(document, dict)
        and "predictions" in document
        and document.keys() <= {"predictions", "model"}
    ):
        return document["predictions"]
    return document


def _invalid(constant: str) -> Any:
    raise AssertionError(f"the gateway's answer holds {constant}, which is no JSON")
