// Editors of JSON text: one array for each tensor, or a whole body.

import { el, field } from "./dom.js";
import { parseDelimited } from "./delimited.js";
import { isJson, literal } from "./exact.js";

const MAX_PIXELS = 256;

class TextEditor {
  constructor() { this.areas = []; }

  addArea(host, label, text, hint) {
    const area = el("textarea", { rows: 8, spellcheck: "false", class: "json", autocomplete: "off" });
    const reason = el("small", { class: "reason", hidden: true });
    const entry = { area, reason, label, example: text };
    reason.id = `reason-text-${this.areas.length}`;
    area.id = `text-${this.areas.length}`;
    area.value = text;
    area.addEventListener("input", () => unmark(entry));
    area.addEventListener("blur", () => { if (area.value.trim() && !isJson(area.value)) mark(entry, "not JSON"); });
    host.append(field(label, area, hint), reason);
    this.areas.push(entry);
    return entry;
  }

  state() { return this.areas.map(({ area }) => area.value); }
  restore(texts) { this.areas.forEach((entry, at) => { entry.area.value = texts[at] ?? ""; unmark(entry); }); }
  reset() { this.restore(this.areas.map((entry) => entry.example)); }
  clear() { this.restore(this.areas.map(() => "")); }
  clearProblems() { this.areas.forEach(unmark); }

  ownProblems() {
    return this.areas.flatMap(({ area, label }) => (isJson(area.value) ? [] : [{ row: null, column: label, reason: "not JSON" }]));
  }

  mark({ column, reason }) {
    const entry = this.areas.find(({ label }) => label === column) ?? (this.areas.length === 1 ? this.areas[0] : null);
    if (entry) mark(entry, reason);
    return entry?.area ?? null;
  }
}

export class Tensors extends TextEditor {
  constructor(form, host) {
    super();
    this.tensors = form.tensors;
    for (const tensor of form.tensors) {
      const shape = `${tensor.dtype}, shape [${tensor.shape.map((size) => (size < 0 ? "any" : size)).join(", ")}]`;
      const entry = this.addArea(host, tensor.name ?? "input", tensor.text, shape);
      if (tensor.shape.length === 2) acceptRows(entry.area);
      if (tensor.shape.length === 4 && [1, 3, 4].includes(tensor.shape[3])) host.append(imageField(entry.area, tensor.shape));
    }
  }

  inputsJson() {
    const texts = this.state().map((text) => text.trim());
    if (this.tensors[0].name === null) return `"inputs": ${texts[0]}`;
    return `"inputs": {${this.tensors.map((tensor, at) => `${JSON.stringify(tensor.name)}: ${texts[at]}`).join(", ")}}`;
  }
}

export class Body extends TextEditor {
  constructor(form, host) {
    super();
    const why = { unsigned: "This version has no signature, so its inputs are not known. Log it with an input example, or with signature=infer_signature(inputs, outputs), and a form stands here.", wide: "The signature has more columns than a form can show: write JSON, or send a CSV or Parquet file." };
    host.append(el("p", {}, why[form.reason]));
    this.addArea(host, "Body, JSON", form.example);
  }

  wholeBody() { return this.state()[0]; }
}

// Rows of a spreadsheet that are pasted over everything become the rows of the array.
function acceptRows(area) {
  area.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!/[\t,;]/.test(text) || text.trim().startsWith("[")) return;
    event.preventDefault();
    const rows = parseDelimited(text).filter((row) => row.length > 1 || row[0] !== "");
    area.value = `[${rows.map((row) => `[${row.map((cell) => literal(cell, "decimal")).join(", ")}]`).join(",\n ")}]`;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

function imageField(area, [, height, width, channels]) {
  const input = el("input", { type: "file", accept: "image/*" });
  input.addEventListener("change", async () => {
    if (!input.files.length) return;
    const bitmap = await createImageBitmap(input.files[0]);
    const canvas = document.createElement("canvas");
    canvas.width = width > 0 ? width : Math.min(bitmap.width, MAX_PIXELS);
    canvas.height = height > 0 ? height : Math.min(bitmap.height, MAX_PIXELS);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    area.value = JSON.stringify([pixels(context.getImageData(0, 0, canvas.width, canvas.height), channels)]);
    area.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return field("Take an image's pixels, 0 to 255", input);
}

function pixels({ data, width, height }, channels) {
  const one = (at) => (channels === 1 ? [Math.round(0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2])] : [...data.slice(at, at + channels)]);
  return Array.from({ length: height }, (_, row) => Array.from({ length: width }, (_, column) => one(4 * (row * width + column))));
}

function mark({ area, reason }, text) {
  area.setAttribute("aria-invalid", "true");
  area.setAttribute("aria-describedby", reason.id);
  reason.textContent = `⚠ ${text}`;
  reason.hidden = false;
}

function unmark({ area, reason }) {
  area.removeAttribute("aria-invalid");
  area.removeAttribute("aria-describedby");
  reason.hidden = true;
}
