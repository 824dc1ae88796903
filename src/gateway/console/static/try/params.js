// The params of a signature, each with its default. Only those that differ from it are sent.

import { el, field } from "./dom.js";
import { literal } from "./exact.js";
import { makeControl } from "./controls.js";

export class Params {
  constructor(params) {
    this.entries = params.map((param) => {
      const control = makeControl({ ...param, required: true, suggestions: [] }, param.name, param.value);
      const reason = el("small", { class: "reason", id: `reason-param-${params.indexOf(param)}`, hidden: true });
      control.input.removeAttribute("aria-label");
      control.input.id = `param-${params.indexOf(param)}`;
      control.input.addEventListener("input", () => unmark({ control, reason }));
      return { param, control, reason };
    });
    this.element = params.length ? el("fieldset", { class: "params" }, el("legend", {}, "Params"), ...this.entries.flatMap(({ param, control, reason }) => [
      field(param.name, control.input, `${param.type}, default ${param.default ?? "null"}`.slice(0, 200)), reason])) : null;
  }

  changed() {
    return this.entries.filter(({ param, control }) => (control.read() ?? "") !== (param.default ?? ""));
  }

  json() {
    return `{${this.changed().map(({ param, control }) => `${JSON.stringify(param.name)}: ${literal(control.read(), param.control)}`).join(", ")}}`;
  }

  state() { return this.entries.map(({ control }) => control.read()); }
  restore(values) { this.entries.forEach(({ control }, at) => control.write(values?.[at] ?? null)); }
  clearProblems() { this.entries.forEach(unmark); }
  ownProblems() { return this.entries.flatMap(({ param, control }) => (control.problem() ? [{ row: null, column: param.name, reason: control.problem() }] : [])); }

  mark({ row, column, reason: text }) {
    const entry = row === null ? this.entries.find(({ param }) => param.name === column) : undefined;
    if (!entry) return null;
    entry.control.input.setAttribute("aria-invalid", "true");
    entry.control.input.setAttribute("aria-describedby", entry.reason.id);
    entry.reason.textContent = `⚠ ${text}`;
    entry.reason.hidden = false;
    return entry.control.input;
  }
}

function unmark({ control, reason }) {
  control.input.removeAttribute("aria-invalid");
  control.input.removeAttribute("aria-describedby");
  reason.hidden = true;
}
