// Keeps a page as it is now: asks every two seconds, not while it is hidden or paused.
import { request } from "./access.js";
import { addEvents } from "./events.js";

const SECONDS = 2, SLOW = 10, FAILURES = 3;
const SYMBOLS = { cold: "○", loading: "◐", warm: "●", failed: "✕", connected: "●", connecting: "◐", lost: "✕", refused: "✕" };
const $ = (id) => document.getElementById(id);
let timer = 0, tag = "", failures = 0, paused = false, running = false;

export function start(main) {
  $("tools").hidden = false;
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    tell(paused ? "paused" : "live");
    next(0);
  });
  document.addEventListener("visibilitychange", () => next(0));
  const next = (seconds) => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(() => poll(main).then(next), seconds * 1000);
  };
  tell("live");
  next(SECONDS);
}

/** Ask once; return the seconds until the next time. */
async function poll(main) {
  if (running) return SECONDS;
  running = true;
  try {
    const response = await request(`console/state?${query(main)}`, { headers: tag ? { "If-None-Match": tag } : {}, signal: AbortSignal.timeout(10_000) });
    if (response.status !== 304) {
      if (!response.ok) throw new Error(response.status);
      tag = response.headers.get("ETag") ?? "";
      show(main, await response.json());
    }
    failures = 0;
    if (!paused) tell("live");
  } catch {
    failures += 1;
    if (failures >= FAILURES) tell("not live");
  } finally {
    running = false;
  }
  return failures >= FAILURES ? SLOW : SECONDS;
}

function query({ dataset }) {
  const asked = new URLSearchParams(dataset.view === "models" ? location.search : "");
  for (const name of ["view", "name", "version"]) if (dataset[name]) asked.set(name, dataset[name]);
  asked.set("after", document.body.dataset.cursor);
  return asked;
}

function tell(text) {
  const live = $("live");
  if (live.textContent !== text) live.textContent = text;
  live.dataset.state = text;
}

function show(main, state) {
  document.body.dataset.cursor = state.cursor;
  const banner = $("banner");
  put(banner, state.banner);
  banner.hidden = !state.banner;
  for (const [name, text] of Object.entries(state.fields ?? {})) showField(name, text);
  if (state.rows) showRows(main, main, state.rows);
  if (state.nodes) showRows(main, main.querySelector("[data-table=nodes]"), state.nodes);
  addEvents(main, state.events);
}

function showField(name, text) {
  for (const element of document.querySelectorAll(`[data-live="${CSS.escape(name)}"]`)) put(element, text);
  for (const element of document.querySelectorAll(`[data-live-state="${CSS.escape(name)}"]`)) element.dataset.state = text;
  for (const element of document.querySelectorAll(`[data-meter="${CSS.escape(name)}"]`)) element.value = Number(text);
}

/** Show the rows of a table, or of the page, that has these columns; a page without nodes has no table of them. */
function showRows(main, table, rows) {
  const columns = table?.dataset.columns.split(" ");
  const shown = new Set();
  for (const row of table?.querySelectorAll("[data-row]") ?? []) {
    if (row.closest("[data-columns]") !== table) continue;
    shown.add(row.dataset.row);
    const values = Object.hasOwn(rows, row.dataset.row) && rows[row.dataset.row];
    if (values) columns.forEach((column, index) => showCell(row, column, values[index]));
  }
  const names = Object.keys(rows);
  if (names.length !== shown.size || names.some((name) => !shown.has(name))) offerReload(main);
}

function showCell(row, column, text) {
  if (column === "state") {
    row.dataset.state = text;
    const state = row.querySelector(".state");
    if (state) {
      state.dataset.state = text;
      put(state.querySelector(".symbol"), SYMBOLS[text]);
    }
  }
  const cell = row.querySelector(`[data-col="${column}"]`);
  if (cell) put(cell, text);
  row.querySelector(`[data-title="${column}"]`)?.setAttribute("title", text);
  row.querySelector(`[data-points="${column}"]`)?.setAttribute("points", text);
  const meter = row.querySelector(`[data-value="${column}"]`);
  if (meter) {
    meter.hidden = !text;
    meter.value = Number(text);
  }
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function offerReload(main) {
  if ($("changed")) return;
  const note = document.createElement("p");
  note.id = "changed";
  note.className = "notice";
  note.setAttribute("role", "status");
  const button = document.createElement("button");
  button.textContent = "Show it as it is now";
  button.addEventListener("click", () => location.reload());
  note.append("What this page lists has changed. ", button);
  main.querySelector("h1").after(note);
}
