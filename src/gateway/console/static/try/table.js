// The table of input rows: one record per row, one control per cell.

import { button, el } from "./dom.js";
import { fitRows, parseDelimited } from "./delimited.js";
import { literal } from "./exact.js";
import { makeControl } from "./controls.js";

const MAX_CELLS = 5_000;

export class Table {
  constructor(form, host, { announce }) {
    this.columns = form.columns;
    this.body = form.body;
    this.example = form.rows;
    this.announce = announce;
    this.rows = [];
    this.tbody = el("tbody");
    const heads = this.columns.map((column, at) => el("th", { scope: "col", id: `column-${at}` },
      el("span", { class: "name", dir: "auto", title: column.label }, column.label),
      el("small", {}, ` ${column.type}${column.required ? "" : ", optional"}`), el("small", { class: "reason", hidden: true })));
    this.heads = heads;
    const table = el("table", { class: "cells" }, el("caption", { class: "offscreen" }, "Input rows"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "row"), ...heads, el("td"))), this.tbody);
    host.append(el("div", { class: "scroll", role: "region", "aria-label": "Input rows", tabindex: "0" }, table),
      button("+ row", () => this.addRow(true), { class: "add" }));
    table.addEventListener("keydown", (event) => this.move(event));
    table.addEventListener("paste", (event) => this.paste(event));
    this.restore(form.rows.length ? form.rows : [this.emptyRow()]);
  }

  emptyRow() {
    return this.columns.map((column) => (column.required && column.control === "text" ? "" : null));
  }

  clear() { this.restore([this.emptyRow()]); }
  reset() { this.restore(this.example.length ? this.example : [this.emptyRow()]); }
  state() { return this.rows.map((row) => row.controls.map((control) => control.read())); }

  restore(rows) {
    const most = Math.max(1, Math.floor(MAX_CELLS / this.columns.length));
    if (rows.length > most) this.announce(`Only the first ${most} of ${rows.length} rows are in the table: send the others as a CSV file.`);
    this.tbody.replaceChildren();
    this.rows = [];
    for (const row of rows.slice(0, most)) this.appendRow(row);
    this.clearProblems();
  }

  addRow(focus) {
    if ((this.rows.length + 1) * this.columns.length > MAX_CELLS) {
      this.announce("The table is full: send more rows as a CSV file.");
      return;
    }
    this.appendRow(this.emptyRow());
    if (focus) this.rows.at(-1).controls[0].input.focus();
  }

  appendRow(values) {
    const at = this.rows.length;
    const controls = this.columns.map((column, number) => makeControl(column, `${column.label}, row ${at}`, values[number] ?? null));
    const cells = controls.map((control, number) => {
      control.input.id = `cell-${at}-${number}`;
      control.reason = el("small", { class: "reason", id: `reason-${at}-${number}`, hidden: true });
      control.input.addEventListener("input", () => unmark(control));
      return el("td", {}, ...control.parts, control.reason);
    });
    const head = el("th", { scope: "row", id: `row-${at}`, tabindex: "-1" }, String(at), el("small", { class: "reason", hidden: true }));
    const remove = button("✕", () => this.removeRow(at), { "aria-label": `Remove row ${at}`, class: "remove" });
    this.tbody.append(el("tr", {}, head, ...cells, el("td", {}, remove)));
    this.rows.push({ controls, head });
  }

  removeRow(at) {
    const rows = this.state();
    rows.splice(at, 1);
    this.restore(rows.length ? rows : [this.emptyRow()]);
    this.rows[Math.min(at, this.rows.length - 1)].controls[0].input.focus();
    this.announce(`Row ${at} removed.`);
  }

  // Enter and the arrows go to the same column of the next or previous row.
  move(event) {
    const target = event.target.closest("[id^=cell-]");
    if (!target || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const [, row, column] = target.id.split("-").map(Number);
    const step = { Enter: 1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || target.tagName === "TEXTAREA" || (target.tagName === "SELECT" && event.key !== "Enter") || event.shiftKey) return;
    if (target.getAttribute("list") && event.key !== "Enter") return; // the arrows choose a suggestion
    event.preventDefault();
    this.rows[row + step]?.controls[column].input.focus();
  }

  paste(event) {
    const target = event.target.closest("[id^=cell-]");
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!target || target.tagName === "TEXTAREA" || !/[\t\r\n]/.test(text.replace(/[\r\n]+$/, ""))) return;
    event.preventDefault();
    const [, row, column] = target.id.split("-").map(Number);
    this.fill(text, row, column);
  }

  // Fills cells from `row` and `column` on; with a header line, the whole table.
  fill(text, row = 0, column = 0) {
    const parsed = parseDelimited(text);
    const all = fitRows(parsed, this.columns);
    const rest = this.columns.slice(column);
    const { rows, unknown, hasHeader } = all.hasHeader ? all : fitRows(parsed, rest);
    const filled = this.state().slice(0, hasHeader ? 0 : row);
    const before = this.state();
    rows.forEach((values, at) => {
      const kept = hasHeader ? [] : (before[row + at] ?? this.emptyRow()).slice(0, column);
      filled.push([...kept, ...values]);
    });
    if (!hasHeader) filled.push(...before.slice(row + rows.length));
    this.restore(filled.length ? filled : [this.emptyRow()]);
    this.rows[hasHeader ? 0 : row]?.controls[hasHeader ? 0 : column].input.focus();
    const left = unknown.length ? ` The model has no column ${unknown.slice(0, 5).join(", ")}.` : "";
    this.announce(`${rows.length} rows pasted.${left}`);
  }

  inputsJson() {
    const rows = this.state().map((row) => row.map((text, at) => literal(text, this.columns[at].control)));
    if (this.body === "inputs") return `"inputs": [${rows.map((row) => row[0]).join(", ")}]`;
    const names = this.body === "unnamed" ? "" : `"columns": [${this.columns.map((column) => JSON.stringify(column.name)).join(", ")}], `;
    return `"dataframe_split": {${names}"data": [${rows.map((row) => `[${row.join(", ")}]`).join(", ")}]}`;
  }

  // Reasons that the page itself can tell.
  ownProblems() {
    return this.rows.flatMap((row, at) => row.controls.flatMap((control, number) => {
      const reason = control.problem();
      return reason ? [{ row: at, column: this.columns[number].label, reason }] : [];
    }));
  }

  clearProblems() {
    for (const { controls, head } of this.rows) { controls.forEach(unmark); hide(head.lastChild); }
    for (const head of this.heads) hide(head.lastChild);
  }

  // Marks the cell, the row or the column of a problem; returns the element to go to, or null.
  mark({ row, column, reason }) {
    const number = this.columnNumber(column);
    if (row !== null && this.rows[row] && number >= 0) {
      const control = this.rows[row].controls[number];
      control.input.setAttribute("aria-invalid", "true");
      control.input.setAttribute("aria-describedby", control.reason.id);
      show(control.reason, reason);
      return control.input;
    }
    if (row !== null && this.rows[row]) { show(this.rows[row].head.lastChild, reason); return this.rows[row].head; }
    if (number >= 0) { show(this.heads[number].lastChild, reason); return this.rows[0]?.controls[number].input ?? null; }
    return null;
  }

  columnNumber(name) {
    if (name === null) return this.columns.length === 1 ? 0 : -1;
    const at = this.columns.findIndex((column) => column.label === name || column.name === name);
    if (at >= 0) return at;
    const cut = this.columns.findIndex((column) => name.length >= 100 && column.label.startsWith(name));
    if (cut >= 0) return cut;
    return this.columns[0].name === null && /^\d+$/.test(name) && Number(name) < this.columns.length ? Number(name) : -1;
  }
}

function unmark(control) {
  control.input.removeAttribute("aria-invalid");
  control.input.removeAttribute("aria-describedby");
  hide(control.reason);
}

function hide(reason) {
  reason.hidden = true;
  reason.textContent = "";
}

function show(reason, text) {
  reason.textContent = `⚠ ${text}`;
  reason.hidden = false;
}
