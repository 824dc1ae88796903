// New events, at the top of their list, and their number beside the link to it.
import { root } from "./access.js";
import { element } from "./element.js";

const MOST = 200; // as many as the gateway puts into the page
let unseen = 0;

export function addEvents(main, events) {
  const list = main.querySelector("[data-events] ol");
  for (const event of events) {
    if (list && !list.querySelector(`[data-event="${CSS.escape(event.id)}"]`)) list.prepend(item(event));
    if (list?.children.length > MOST) list.lastElementChild.remove();
    if (!list && event.level !== "info") unseen += 1;
  }
  if (list && events.length) document.getElementById("no-events").hidden = true;
  const badge = document.getElementById("new-events");
  badge.hidden = !unseen;
  const text = unseen ? `${unseen} new` : "";
  if (badge.textContent !== text) badge.textContent = text;
}

function item(event) {
  const line = document.createElement("li");
  line.dataset.event = event.id;
  line.dataset.level = event.level;
  const time = element("time", "", event.time);
  time.dateTime = time.title = event.at;
  const symbol = element("span", "symbol", event.symbol);
  symbol.ariaHidden = "true";
  const what = element("span", "what", "");
  what.append(symbol, ` ${event.what}`);
  line.append(time, " ", what, " ");
  if (event.model) {
    const link = element("a", "of", "");
    link.href = new URL(`ui/models/${encodeURIComponent(event.model)}`, root);
    link.append(element("bdi", "", event.model.slice(0, 40)));
    line.append(link, " ");
  }
  if (event.version) line.append(element("span", "version", `version ${event.version.slice(0, 24)}`), " ");
  const text = element("span", "text", event.text);
  text.dir = "auto";
  line.append(text);
  if (event.request_id) line.append(" ", element("span", "quiet", `request ${event.request_id.slice(0, 40)}`));
  return line;
}
