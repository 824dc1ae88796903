// The form of a version: what is filled in becomes one request to the public API, and its answer is shown.

import { root } from "../access.js";
import { showAnswer } from "./answer.js";
import { Chat } from "./chat.js";
import { button, copy, el, field } from "./dom.js";
import { parse } from "./exact.js";
import { remember, triesOf } from "./history.js";
import { Params } from "./params.js";
import { showProblems, showRefusal } from "./problems.js";
import { getJson, hasKey, invocationUrl, send } from "./request.js";
import { LANGUAGES, snippet } from "./snippets.js";
import { fileSource, pasteSource } from "./sources.js";
import { Table } from "./table.js";
import { Body, Tensors } from "./texts.js";

const QUERY = "?details=50";

export function start() {
  const host = document.getElementById("try-form");
  if (!host || host.dataset.started) return;
  host.dataset.started = "true";
  new Try(host, JSON.parse(document.getElementById("form").textContent), JSON.parse(document.getElementById("target").textContent));
}

class Try {
  constructor(host, form, target) {
    Object.assign(this, { form, target, id: `${target.name}/${target.version}`, file: null });
    this.url = invocationUrl(root, target.name, target.version, QUERY);
    this.status = el("p", { role: "status", class: "status" });
    this.announce = (text) => { this.status.textContent = text; };
    this.editorHost = el("div", { class: "editor" });
    this.result = el("div", { class: "result", id: "try-result" });
    this.params = new Params(form.params);
    this.editor = this.makeEditor();
    this.predictButton = el("button", { type: "submit", class: "primary" }, form.kind === "chat" ? "Send" : "Predict");
    this.compare = el("select", {}, el("option", { value: "" }, "no other version"));
    this.element = el("form", { novalidate: true, "aria-label": "Try this version", on: {
      submit: (event) => { event.preventDefault(); this.predict(); },
      keydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.predict(); } },
      input: () => this.showCode(), change: () => this.showCode(),
    } }, this.sources(), this.editorHost, this.params.element, form.kind !== "chat" && field("Compare with", this.compare),
    el("div", { class: "actions" }, this.predictButton, el("small", {}, "Ctrl+Enter")),
    el("div", { class: "actions", role: "group", "aria-label": "Copy this request" }, el("span", {}, "Copy as"),
      ...LANGUAGES.map((language) => button(language, async () => { await copy(this.code(language)); this.announce(`Copied as ${language}.`); }, { "data-copy": language }))));
    host.replaceChildren(this.element, this.status, this.result);
    this.offerVersions();
    this.showCode();
  }

  makeEditor() {
    const shared = { announce: this.announce, url: this.url, paramsJson: () => this.params.json(), problemsHost: this.result, missing: this.target.missing };
    const kinds = { table: Table, tensors: Tensors, chat: Chat, json: Body };
    return new kinds[this.form.kind](this.form, this.editorHost, shared);
  }

  sources() {
    const name = "source";
    const parts = { paste: this.form.kind === "table" && pasteSource((text) => { this.editor.fill(text); this.showCode(); }),
      file: this.form.kind !== "chat" && fileSource((file) => { this.file = file; this.editorHost.hidden = Boolean(file); this.showCode(); }) };
    const history = el("select", { "aria-label": "My last tries" });
    history.addEventListener("change", () => this.recall(Number(history.value)));
    this.history = history;
    const choose = (value) => {
      if (parts.paste) parts.paste.hidden = value !== "paste";
      if (parts.file) { parts.file.hidden = value !== "file"; if (value !== "file") parts.file.forget(); }
      history.hidden = value !== "tries";
      if (value === "example") this.editor.reset();
      if (value === "empty") this.editor.clear();
      if (value === "tries") { this.listTries(); this.recall(0); }
      this.showCode();
    };
    const choice = (value, label, checked) => el("label", {}, el("input", { type: "radio", name, value, checked: Boolean(checked), on: { change: () => choose(value) } }), ` ${label}`);
    const radios = el("fieldset", { class: "sources" }, el("legend", {}, "Start from"), this.form.has_example && choice("example", "the example it was logged with", true), choice("empty", "an empty input", !this.form.has_example),
      parts.paste && choice("paste", "paste from a spreadsheet"), parts.file && choice("file", "CSV, Parquet or Arrow file"), choice("tries", "my last tries"), history);
    history.hidden = true;
    return el("div", {}, radios, parts.paste, parts.file);
  }

  listTries() {
    const tries = triesOf(this.id);
    this.history.replaceChildren(...(tries.length ? tries.map((each, at) => el("option", { value: at }, new Date(each.at).toLocaleString())) : [el("option", { value: "0" }, "none yet")]));
  }

  recall(at) {
    const found = triesOf(this.id)[at];
    if (!found) return;
    this.editor.restore(found.state.inputs);
    this.params.restore(found.state.params);
    this.showCode();
  }

  async offerVersions() {
    if (this.form.kind === "chat") return;
    try {
      const model = await getJson(new URL(`model/${encodeURIComponent(this.target.name)}`, root));
      const aliases = Object.entries(model.aliases ?? {}).map(([alias, version]) => [`@${alias}`, `@${alias} (version ${version})`]);
      const versions = model.versions.filter(({ version, status }) => version !== this.target.version && status === "READY").slice(0, 200).map(({ version }) => [version, `version ${version}`]);
      this.compare.append(...[...aliases, ...versions].map(([value, text]) => el("option", { value, dir: "auto" }, text)));
      const wanted = new URLSearchParams(location.search).get("compare");
      if ([...this.compare.options].some(({ value }) => value === wanted)) this.compare.value = wanted;
    } catch { /* the list of versions may be hidden from this caller: there is nothing to compare with then */ }
  }

  request() {
    if (this.file) return { url: this.url, type: this.file.mediaType, body: this.file, file: this.file.name };
    const params = this.params.json();
    const body = this.editor.wholeBody ? this.editor.wholeBody() : `{${this.editor.inputsJson()}${params === "{}" ? "" : `, "params": ${params}`}}`;
    return { url: this.url, type: "application/json", body };
  }

  code(language) {
    return snippet(language, { ...this.request(), withKey: hasKey() });
  }

  showCode() {
    clearTimeout(this.codeTimer);
    this.codeTimer = setTimeout(() => {
      for (const language of LANGUAGES) {
        const place = document.querySelector(`#code [data-language="${language}"] code`);
        if (place) place.textContent = this.code(language);
      }
    }, 150);
  }

  async predict() {
    if (this.element.ariaBusy === "true") return;
    this.editor.clearProblems();
    this.params.clearProblems();
    this.result.replaceChildren();
    const own = this.file ? [] : [...this.editor.ownProblems(), ...this.params.ownProblems()];
    if (own.length) { showProblems(this.result, { title: "Not sent", details: own, editor: this.marker() }); return; }
    this.element.ariaBusy = "true";
    this.announce(this.target.state === "warm" ? "Asking …" : "Asking … The first answer waits until the model is loaded.");
    try {
      if (!this.file) remember(this.id, { inputs: this.editor.state(), params: this.params.state() });
      await (this.form.kind === "chat" ? this.editor.submit() : this.ask());
    } catch {
      this.announce("");
      showProblems(this.result, { title: "The gateway does not answer", message: "Check the connection, and try again." });
    } finally {
      this.element.ariaBusy = "false";
    }
  }

  async ask() {
    const request = this.request();
    const answer = await send(request, { waiting: (left) => this.announce(left ? `The gateway is busy: again in ${left} s.` : "Trying again …") });
    if (!answer.ok) {
      this.announce("");
      showRefusal(this.result, answer, { editor: this.marker(), missing: this.target.missing });
      return;
    }
    this.target.state = "warm";
    const other = this.compare.value ? await this.askOther(this.compare.value, request) : null;
    const inputs = this.editor instanceof Table && !this.file ? { columns: this.editor.columns.map(({ label }) => label), rows: this.editor.state() } : null;
    showAnswer(this.result, answer, { version: answer.headers.get("Model-Version") ?? this.target.version, inputs, other, announce: this.announce });
  }

  async askOther(version, request) {
    const answer = await send({ ...request, url: invocationUrl(root, this.target.name, version, QUERY) }, { waiting: () => {} });
    const number = answer.headers.get("Model-Version") ?? version;
    if (answer.ok) return { version: number, predictions: parse(answer.text).predictions };
    let message = `it answered ${answer.status}`;
    try { message = JSON.parse(answer.text).message; } catch { /* a proxy's page */ }
    return { version: number, error: message };
  }

  marker() {
    return { mark: (problem) => (this.file ? null : (this.params.mark(problem) ?? this.editor.mark(problem))) };
  }
}

start();
