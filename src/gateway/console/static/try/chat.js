// A conversation with a model that takes messages: answered in parts if the model can, and all of it to be seen raw.

import { button, el, field } from "./dom.js";
import { isJson, parse, stringify } from "./exact.js";
import { post, send } from "./request.js";
import { showRefusal } from "./problems.js";

const MAX_RAW = 500_000;

export class Chat {
  constructor(form, host, { url, paramsJson, announce, problemsHost, missing }) {
    Object.assign(this, { form, url, paramsJson, announce, problemsHost, missing });
    this.messages = [];
    this.log = el("ol", { class: "chat", role: "log", "aria-label": "Conversation", tabindex: "0" });
    this.role = el("select", {}, ...["user", "system"].map((role) => el("option", {}, role)));
    this.text = el("textarea", { rows: 3, dir: "auto" });
    this.text.value = form.messages.findLast((message) => message.role === "user")?.content ?? "";
    this.others = el("textarea", { rows: 2, class: "json", spellcheck: "false" });
    this.others.value = form.others;
    this.raw = el("code", { dir: "auto" });
    this.stop = button("Stop", () => this.abort?.abort(), { hidden: true });
    host.append(this.log, field("As", this.role), field("Message", this.text),
      el("details", {}, el("summary", {}, "Other fields of the body"), field("JSON", this.others)),
      el("div", { class: "actions" }, this.stop, button("New conversation", () => this.clear())),
      el("details", {}, el("summary", {}, "Raw answer"), el("pre", { class: "raw", tabindex: "0", "aria-label": "Raw answer" }, this.raw)));
  }

  state() { return { messages: this.messages, text: this.text.value, others: this.others.value }; }
  reset() { this.clear(); this.text.value = this.form.messages.at(-1)?.content ?? ""; }
  clear() { this.restore({ messages: [], text: "", others: this.form.others }); }
  ownProblems() { return []; }
  clearProblems() { this.text.removeAttribute("aria-invalid"); }
  mark() { this.text.setAttribute("aria-invalid", "true"); return this.text; }

  restore({ messages, text, others }) {
    this.messages = messages;
    this.text.value = text;
    this.others.value = others;
    this.log.replaceChildren(...messages.map((message) => bubble(message)));
  }

  wholeBody() {
    const messages = this.text.value ? [...this.messages, { role: this.role.value, content: this.text.value }] : this.messages;
    const others = this.others.value.trim().replace(/^\{|\}$/g, "").trim();
    const params = this.paramsJson().replace(/^\{|\}$/g, "").trim();
    return `{${[`${JSON.stringify(this.form.field)}: ${stringify(messages)}`, others, params].filter(Boolean).join(", ")}}`;
  }

  // Sends the conversation; the answer is shown as it comes.
  async submit() {
    const body = this.wholeBody();
    const before = this.messages;
    if (this.text.value) this.messages = [...before, { role: this.role.value, content: this.text.value }];
    const answer = { role: "assistant", content: "" };
    const item = bubble(answer);
    this.log.replaceChildren(...this.messages.map((message) => bubble(message)), item);
    this.abort = new AbortController();
    this.stop.hidden = false;
    this.raw.textContent = "";
    this.rawRoom = MAX_RAW;
    try {
      const failed = await this.receive(body, (text, whole) => {
        answer.content = whole ? text : answer.content + text;
        if (whole) item.lastChild.textContent = text;
        else item.lastChild.append(text);
      });
      if (failed) { item.remove(); this.messages = before; showRefusal(this.problemsHost, failed, { editor: this, missing: this.missing }); return; }
      this.messages = [...this.messages, answer];
      this.text.value = "";
      this.announce("Answered.");
      this.text.focus();
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      this.announce("Stopped.");
    } finally {
      this.abort.abort(); // nothing more is read, also if what came was no answer
      this.stop.hidden = true;
    }
  }

  // Calls `say(text, whole)` for each part; resolves to the answer that refused the request, or null.
  async receive(body, say) {
    const signal = this.abort.signal;
    const response = await post({ url: `${this.url}&stream=true`, type: "application/json", body }, signal);
    if (!response.ok || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      await response.body?.cancel();
      return this.receiveWhole(body, say);
    }
    for await (const { type, data } of events(response.body)) {
      if (data === "[DONE]") break;
      this.addRaw(data);
      if (type === "error") return { status: 500, text: data, headers: response.headers };
      const part = isJson(data) ? partOf(JSON.parse(data)) : null;
      if (part) say(part.text, part.whole);
    }
    return null;
  }

  addRaw(data) {
    if (this.rawRoom <= 0) return;
    this.raw.append(this.rawRoom < data.length ? "…" : `${data}\n`);
    this.rawRoom -= data.length + 1;
  }

  async receiveWhole(body, say) {
    const answer = await send({ url: this.url, type: "application/json", body }, { signal: this.abort.signal, waiting: (left) => this.announce(left ? `The gateway is busy: again in ${left} s.` : "") });
    if (!answer.ok) return answer;
    const value = parse(answer.text);
    this.raw.textContent = stringify(value, "\n");
    say(textOf(value), true);
    return null;
  }
}

function bubble({ role, content }) {
  return el("li", { class: role, dir: "auto" }, el("strong", {}, `${role} `), el("span", {}, content));
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    buffer += value ?? "";
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const find = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join("\n");
      yield { type: find("event"), data: find("data") };
    }
    if (done) return;
  }
}

// The text of one event: of a ChatAgent, a ChatModel or a ResponsesAgent. A whole one replaces the parts before.
function partOf(event) {
  if (event === null || typeof event !== "object") return null;
  if (event.type === "response.output_text.delta") return { text: String(event.delta), whole: false };
  if (event.type === "response.output_item.done") return { text: itemText(event.item), whole: true };
  const delta = event.delta?.content ?? event.choices?.[0]?.delta?.content;
  return typeof delta === "string" ? { text: delta, whole: false } : null;
}

function textOf(value) {
  if (value === null || typeof value !== "object") return stringify(value);
  const message = value.messages?.at?.(-1)?.content ?? value.choices?.[0]?.message?.content;
  if (typeof message === "string") return message;
  if (Array.isArray(value.output)) return value.output.map(itemText).filter(Boolean).join("\n");
  return stringify(value.predictions ?? value);
}

function itemText(item) {
  return Array.isArray(item?.content) ? item.content.map((part) => part?.text ?? "").join("") : "";
}
