// One control for one value, by its type. It has `read()`, which returns the text or null, and `write()`.

import { el, button, newId } from "./dom.js";
import { isJson } from "./exact.js";

const HINTS = { datetime: "2024-01-31T12:00:00Z", json: "JSON", binary: "base64" };
const IMAGES = [["iVBORw0KGgo", "png"], ["/9j/", "jpeg"], ["R0lGOD", "gif"], ["UklGR", "webp"]];
const MAX_FILE_BYTES = 20 * 2 ** 20;

export function makeControl(column, label, value) {
  if (column.control === "boolean") return selectControl(column, label, value);
  const tall = column.control === "json" || (value !== null && /[\r\n]/.test(value));
  const suggested = column.control === "text" && !tall && column.suggestions?.length > 0;
  const input = el(tall ? "textarea" : "input", {
    ...(tall ? { rows: 2 } : { type: "text" }), "aria-label": label, autocomplete: "off", spellcheck: "false", dir: "auto",
    inputmode: column.control === "decimal" || column.control === "integer" ? "decimal" : undefined,
    placeholder: column.required ? HINTS[column.control] : "null", list: suggested ? suggestionsOf(column) : undefined,
  });
  let isNull = false, toggle = null;
  const show = (nothing) => {
    isNull = nothing;
    toggle?.setAttribute("aria-pressed", String(nothing));
    if (nothing) input.value = "";
    input.classList.toggle("null", nothing);
  };
  const hasNull = column.control === "text" || column.control === "binary";
  if (hasNull && (!column.required || value === null)) {
    toggle = button("null", () => show(!isNull), { class: "null", "aria-label": `${label}: null`, "aria-pressed": "false" });
  }
  input.addEventListener("input", () => show(false));
  const extra = column.control === "binary" ? fileParts(input, label, () => show(false)) : [];
  const control = {
    input,
    parts: [input, toggle, ...extra],
    read: () => (isNull ? null : input.value),
    write(text) {
      input.value = text ?? "";
      show(text === null && toggle !== null);
      input.dispatchEvent(new Event("preview"));
    },
    problem: () => (column.control === "json" && input.value.trim() && !isJson(input.value) ? "not JSON" : null),
  };
  control.write(value);
  return control;
}

function selectControl(column, label, value) {
  const input = el("select", { "aria-label": label },
    ...[["", column.required ? "–" : "null"], ["true", "true"], ["false", "false"]].map(([key, text]) => el("option", { value: key }, text)));
  const write = (text) => {
    if (text && text !== "true" && text !== "false") input.append(el("option", { value: text }, text));
    input.value = text ?? "";
  };
  write(value);
  return { input, parts: [input], read: () => input.value || null, write, problem: () => null };
}

function suggestionsOf(column) {
  if (!column.listId) {
    column.listId = newId("suggestions");
    document.getElementById("try").append(el("datalist", { id: column.listId }, ...column.suggestions.map((value) => el("option", { value }))));
  }
  return column.listId;
}

function fileParts(input, label, changed) {
  const image = el("img", { class: "preview", alt: "", hidden: true });
  const note = el("small", { role: "status" });
  const preview = () => {
    const kind = /^[\w+/]+=*$/.test(input.value) && IMAGES.find(([start]) => input.value.startsWith(start))?.[1];
    image.hidden = !kind;
    if (kind) { image.src = `data:image/${kind};base64,${input.value}`; image.alt = `${label}: preview`; }
  };
  const take = async (file) => {
    if (!file) return;
    note.textContent = file.size > MAX_FILE_BYTES ? "The file is larger than 20 MiB." : "";
    if (note.textContent) return;
    input.value = await toBase64(file);
    changed();
    preview();
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  input.addEventListener("preview", preview);
  input.addEventListener("change", preview);
  input.addEventListener("dragover", (event) => event.preventDefault());
  input.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  const file = el("input", { type: "file", "aria-label": `${label}: file`, on: { change: () => take(file.files[0]) } });
  return [file, image, note];
}

function toBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
