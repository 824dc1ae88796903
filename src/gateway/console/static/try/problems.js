// What went wrong: each reason in its cell, a summary with links to the cells, and what an operator needs.

import { button, copy, el } from "./dom.js";

export function showProblems(host, { title, message, details = [], total = details.length, exact = true, id, extra = [], editor }) {
  const items = details.map((problem) => {
    const target = editor?.mark(problem) ?? null;
    const place = [problem.row === null ? null : `row ${problem.row}`, problem.column].filter((part) => part !== null).join(", ");
    const text = place ? `${place}: ${problem.reason}` : problem.reason;
    if (!target) return el("li", { dir: "auto" }, text);
    const go = (event) => { event.preventDefault(); target.focus(); target.scrollIntoView({ block: "nearest" }); };
    return el("li", { dir: "auto" }, el("a", { href: `#${target.id}`, on: { click: go } }, text));
  });
  const hidden = total - details.length;
  const box = el("div", { class: "problems", role: "alert", tabindex: "-1" },
    el("h3", {}, `⚠ ${title}`), message && el("p", { dir: "auto" }, message), items.length > 0 && el("ul", {}, ...items),
    hidden > 0 && el("p", {}, `${exact ? "" : "More than "}${hidden} more cells do not fit.`), ...extra, id && requestId(id));
  host.replaceChildren(box);
  box.focus();
}

export function requestId(id) {
  return el("p", { class: "request" }, "request ", el("code", {}, id), " ",
    button("Copy for your operator", () => copy(`request ${id}`)));
}

// Shows the refusal of a request, which is JSON unless a proxy answered.
export function showRefusal(host, answer, { editor, missing }) {
  let body = {};
  try { body = JSON.parse(answer.text); } catch { /* a proxy's page */ }
  const details = Array.isArray(body.details) ? body.details : [];
  const total = body.details_total ?? details.length;
  const exact = body.details_total_exact !== false;
  const cells = details.some((problem) => problem.row !== null);
  const count = `${exact ? "" : "more than "}${total} ${cells ? "cell" : "column"}${total === 1 ? " does" : "s do"}`;
  const title = details.length ? `${count[0].toUpperCase()}${count.slice(1)} not fit the signature` : titleOf(answer.status);
  const id = answer.headers.get("X-Request-Id") ?? body.request_id;
  showProblems(host, {
    title, details, total, exact, id, editor, message: details.length ? null : (body.message ?? `The gateway answered ${answer.status}.`),
    extra: answer.status === 424 && missing.length ? installLine(missing) : [],
  });
}

function titleOf(status) {
  const titles = { 400: "The input was refused", 401: "The key is missing or wrong", 403: "This is not allowed", 404: "There is no such version", 409: "This version cannot answer",
    413: "The input is too large", 415: "This kind of file is not known", 424: "The model cannot be loaded here", 429: "Too many requests", 500: "The model failed", 503: "The gateway is busy", 504: "Out of time" };
  return titles[status] ?? `The request failed (${status})`;
}

// Characters that an editor or a terminal could take for keys, or for an end of the line, are left out.
const NOT_TEXT = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;

export function installLine(missing) {
  const line = `RUN pip install ${missing.map((name) => `'${name.replaceAll("'", "'\\''").replace(NOT_TEXT, " ")}'`).join(" ")}`;
  return [el("p", {}, "These packages are missing. A line for the Dockerfile of the gateway:"), el("pre", {}, el("code", {}, line)), button("Copy the line", () => copy(line))];
}
