"""What a person does with a mouse and a keyboard in a page, as the browser gets it from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.support.browser import Page

_CONTROL: Final = 2
_SHIFT: Final = 8
_KEYS: Final[dict[str, dict[str, Any]]] = {
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Space": {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
    "Backspace": {"key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8},
    "ArrowDown": {"key": "ArrowDown", "code": "ArrowDown", "windowsVirtualKeyCode": 40},
    "ArrowUp": {"key": "ArrowUp", "code": "ArrowUp", "windowsVirtualKeyCode": 38},
    "ArrowRight": {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39},
    "a": {"key": "a", "code": "KeyA", "windowsVirtualKeyCode": 65},
}
# The centre of an element that has stopped moving, and that nothing covers.
_CENTRE: Final = """(async () => {
  const element = document.readyState === "complete" ? %s : null;
  if (!element) return null;
  element.scrollIntoView({block: "center", inline: "center", behavior: "instant"});
  const place = () => {
    const box = element.getClientRects()[0]; // of a link that has several lines, the first
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const before = place();
  await new Promise((done) => setTimeout(done, 50));
  const now = place();
  const top = document.elementFromPoint(...now);
  return String(before) === String(now) && (element === top || element.contains(top)) ? now : null;
})()"""


async def click(page: Page, selector: str) -> None:
    """Press the mouse's button on the first element of a selector."""
    centre = await page.wait_for(_CENTRE % f"document.querySelector({json.dumps(selector)})")
    place = {"x": centre[0], "y": centre[1], "button": "left", "clickCount": 1}
    for kind in ("mousePressed", "mouseReleased"):
        await page.call("Input.dispatchMouseEvent", type=kind, **place)


async def press(page: Page, key: str, *, control: bool = False, shift: bool = False, times: int = 1) -> None:
    """Press a key of the keyboard."""
    modifiers = control * _CONTROL + shift * _SHIFT
    fields = dict(_KEYS[key])
    if control:
        fields.pop("text", None)
    for _ in range(times):
        await page.call("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **fields)
        await page.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **fields)


async def write(page: Page, text: str) -> None:
    """Replace what the focused control holds."""
    await press(page, "a", control=True)
    await page.run("document.execCommand('selectAll')")
    await page.call("Input.insertText", text=text)


async def tab_to(page: Page, element: str, *, limit: int = 80) -> None:
    """Press Tab until a selector matches the focused element; fail if it never does."""
    for _ in range(limit):
        if await page.run(f"document.activeElement.matches({json.dumps(element)})"):
            return
        await press(page, "Tab")
    raise AssertionError(f"{element} cannot be reached by Tab")
