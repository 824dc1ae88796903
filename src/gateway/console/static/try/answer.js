// An answer as a table beside its inputs, compared row by row with another version's, and as a file.

import { button, download, el } from "./dom.js";
import { parse, Raw, stringify } from "./exact.js";
import { requestId } from "./problems.js";

const MAX_ROWS = 500;
const MAX_INPUTS = 8;
const MAX_COLUMNS = 200;
const MAX_TEXT = 2_000;
const MAX_RAW = 500_000;

export function showAnswer(host, answer, { version, inputs, other, announce }) {
  const document_ = parse(answer.text);
  const predictions = document_?.predictions;
  const table = toTable(predictions);
  const differs = other?.predictions === undefined || !table ? null : differences(predictions, other.predictions);
  const id = answer.headers.get("X-Request-Id");
  const heading = el("h3", { tabindex: "-1" }, `Answer of version ${version}`);
  const parts = [el("div", { class: "answer-head" }, heading, el("span", {}, `${(answer.seconds * 1000).toFixed(1)} ms`), ...phases(answer.headers.get("Server-Timing")))];
  if (differs) {
    const count = differs.filter(Boolean).length;
    parts.push(el("p", { class: "differs" }, `${count} of ${differs.length} rows differ`));
  }
  if (other?.error) parts.push(el("p", { class: "differs", dir: "auto" }, `⚠ Version ${other.version}: ${other.error}`));
  parts.push(table ? answerTable(table, { inputs, other: other?.predictions === undefined ? null : other, differs })
    : el("pre", { class: "raw", tabindex: "0", "aria-label": "Answer" }, el("code", { dir: "auto" }, cut(pretty(answer.text), MAX_RAW))));
  parts.push(el("div", { class: "actions" },
    table && button("Download CSV", () => download("predictions.csv", toCsv(table), "text/csv")),
    button("Download JSON", () => download("predictions.json", answer.text, "application/json"))));
  if (id) parts.push(requestId(id));
  host.replaceChildren(el("section", { "aria-label": "Answer" }, ...parts));
  heading.focus();
  announce(differs ? `Answered. ${differs.filter(Boolean).length} of ${differs.length} rows differ.` : "Answered.");
}

function phases(header) {
  const entries = [...(header ?? "").matchAll(/([a-z]+);dur=([\d.]+)/g)];
  return entries.map(([, name, milliseconds]) => el("span", { class: "phase" }, `${name} ${Number(milliseconds).toFixed(1)}`));
}

// Returns `{columns, rows}` of predictions that are a list, or lists of one length by name; else null.
export function toTable(predictions) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Raw);
  if (isObject(predictions)) {
    const columns = Object.keys(predictions);
    const lists = Object.values(predictions);
    if (!columns.length || columns.length > MAX_COLUMNS || !lists.every((list) => Array.isArray(list) && list.length === lists[0].length)) return null;
    return { columns, rows: lists[0].map((_, at) => lists.map((list) => list[at])) };
  }
  if (!Array.isArray(predictions) || !predictions.length) return null;
  if (predictions.every(isObject)) {
    const columns = [...new Set(predictions.flatMap(Object.keys))];
    if (columns.length > MAX_COLUMNS) return null;
    return { columns, rows: predictions.map((row) => columns.map((name) => (Object.hasOwn(row, name) ? row[name] : undefined))) };
  }
  const width = Array.isArray(predictions[0]) ? predictions[0].length : 0;
  if (width && width <= MAX_COLUMNS && predictions.every((row) => Array.isArray(row) && row.length === width)) {
    return { columns: predictions[0].map((_, at) => `prediction ${at}`), rows: predictions };
  }
  return { columns: ["prediction"], rows: predictions.map((value) => [value]) };
}

function differences(mine, theirs) {
  const [left, right] = [mine, theirs].map((predictions) => toTable(predictions)?.rows ?? []);
  return left.map((row, at) => stringify(row) !== stringify(right[at]));
}

function answerTable({ columns, rows }, { inputs, other, differs }) {
  const shown = inputs && inputs.columns.length <= MAX_INPUTS && inputs.rows.length === rows.length ? inputs : { columns: [], rows: [] };
  const theirs = other ? toTable(other.predictions) : null;
  const head = (name, kind) => el("th", { scope: "col", class: kind, dir: "auto", title: name }, name);
  const body = rows.slice(0, MAX_ROWS).map((row, at) => el("tr", { class: differs?.[at] ? "differs" : undefined },
    el("th", { scope: "row" }, String(at)), ...(shown.rows[at] ?? []).map((value) => el("td", { class: "input", dir: "auto" }, value ?? "null")),
    ...row.map((value) => el("td", { class: "prediction", dir: "auto" }, cut(show(value), MAX_TEXT))),
    other && el("td", { dir: "auto", class: "other" }, theirs?.rows[at] ? cut(theirs.rows[at].map(show).join(", "), MAX_TEXT) : "–", differs[at] && el("strong", { title: "differs" }, " ≠", el("span", { class: "offscreen" }, " differs")))));
  return el("div", { class: "scroll", role: "region", "aria-label": "Predictions", tabindex: "0" },
    el("table", { class: "answers" }, el("caption", { class: rows.length > MAX_ROWS ? "" : "offscreen" }, rows.length > MAX_ROWS ? `The first ${MAX_ROWS} of ${rows.length} rows` : "Predictions"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "row"), ...shown.columns.map((name) => head(name, "input")), ...columns.map((name) => head(name, "prediction")), other && head(`version ${other.version} says`, "other"))),
      el("tbody", {}, ...body)));
}

function show(value) {
  return typeof value === "string" ? value : stringify(value);
}

// A browser shows no text of megabytes in reasonable time: all of it is in what is downloaded.
function cut(text, length) {
  return text.length > length ? `${text.slice(0, length)}… (${text.length} characters)` : text;
}

function pretty(text) {
  try {
    return stringify(parse(text), "\n");
  } catch {
    return text;
  }
}

// Texts that a spreadsheet would take for a formula get an apostrophe in front: a model's owner may have chosen them.
export function toCsv({ columns, rows }) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : show(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(value)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
