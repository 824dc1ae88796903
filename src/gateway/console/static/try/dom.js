// Elements made from data. Text becomes text nodes only: nothing that a model's owner wrote is parsed as HTML.

export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, handle] of Object.entries(value)) element.addEventListener(event, handle);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let lastId = 0;

export function newId(prefix) {
  return `${prefix}-${++lastId}`;
}

export function field(label, control, hint) {
  control.id ||= newId("field");
  return el("div", { class: "field" }, el("label", { for: control.id, dir: "auto" }, label), control, hint && el("small", {}, hint));
}

export function button(text, handle, properties = {}) {
  return el("button", { type: "button", on: { click: handle }, ...properties }, text);
}

export function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no clipboard where the page has no secure context
    const area = el("textarea", { class: "offscreen", "aria-hidden": "true" });
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    focused?.focus();
  }
}
