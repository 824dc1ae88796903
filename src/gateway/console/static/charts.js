// Charts of the last 15 minutes as SVG, each with a table of its data.
import { request } from "./access.js";
import { element } from "./element.js";

const SECONDS = 5, WIDTH = 180, HEIGHT = 60, SVG = "http://www.w3.org/2000/svg";
const CHARTS = [
  ["Requests per second", (d) => Object.entries(d.requests).filter(([name, values]) => name !== "other" && (name[0] !== "3" || values.some(Boolean))), (v) => short(v)],
  ["Time to answer", (d) => Object.entries(d.latency), (v) => milliseconds(v)],
  ["Memory by model", (d) => d.memory, (v) => bytes(v), "stacked"],
  ["Waiting, and refused/s", (d) => [["waiting", d.waiting], ["refused", d.refused]], (v) => short(v)],
];
let tag = "", data = null;

export function start(section) {
  section.hidden = false;
  const figures = CHARTS.map((chart) => figure(section, ...chart));
  const draw = () => figures.forEach((each) => each(data));
  const poll = async () => {
    if (!document.hidden && document.getElementById("pause").ariaPressed !== "true") {
      const response = await request("console/charts", { headers: tag ? { "If-None-Match": tag } : {} }).catch(() => null);
      if (response?.ok) {
        tag = response.headers.get("ETag") ?? "";
        data = await response.json();
        draw();
      }
    }
    setTimeout(poll, SECONDS * 1000);
  };
  poll();
}

function figure(section, title, select, format, kind = "lines") {
  const made = element("figure");
  const caption = element("figcaption");
  caption.append(element("strong", "", title), element("span", "readout quiet", "last 15 minutes"));
  const top = element("span", "top quiet");
  const plot = element("div", "plot");
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" })) svg.setAttribute(name, value);
  plot.append(svg, top);
  const legend = element("ul", "legend");
  const details = element("details");
  const table = element("div", "scroll");
  details.append(element("summary", "", "Show data"), table);
  made.append(caption, plot, legend, details);
  section.append(made);
  let series = [], times = [], limit = [];
  details.addEventListener("toggle", () => details.open && fillTable(table, title, times, series, format));
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const index = Math.round(((event.clientX - box.left) / box.width) * (times.length - 1));
    if (times[index]) caption.lastChild.textContent = `${clock(times[index])}  ${series.map(([name, values]) => `${name} ${format(values[index])}`).join(" · ")}`;
  });
  plot.addEventListener("pointerleave", () => (caption.lastChild.textContent = "last 15 minutes"));
  return (found) => {
    times = found.times;
    series = select(found);
    limit = kind === "stacked" ? found.limit : [];
    const drawn = kind === "stacked" ? stack(series) : series.map(([, values]) => values);
    const used = Math.max(...drawn.flat().map((v) => v ?? 0), 0);
    const budget = limit.at(-1) ?? 0;
    if (budget > 2 * used) limit = []; // the line would leave no room for what is used
    const highest = Math.max(used, ...limit.map((v) => v ?? 0));
    top.textContent = highest ? format(highest) : "";
    svg.replaceChildren(...(kind === "stacked" ? areas(drawn, highest) : lines(drawn, highest)), ...(limit.some(Boolean) ? [path(limit, highest, "limit")] : []));
    const now = series.map(([name, values]) => `${name} ${format(values.at(-1))}`).join(", ");
    svg.setAttribute("aria-label", `${title}, the last 15 minutes. Now: ${now}.`);
    legend.replaceChildren(...series.map(([name], index) => key(name, index, kind)));
    if (budget) legend.append(limit.length ? key(`budget ${format(budget)}`, "limit", "lines") : element("li", "quiet", `budget ${format(budget)}`));
    if (details.open) fillTable(table, title, times, series, format);
  };
}

const x = (index, count) => (count > 1 ? (index / (count - 1)) * WIDTH : WIDTH);
const y = (value, highest) => HEIGHT - 1 - (highest ? value / highest : 0) * (HEIGHT - 3);

function path(values, highest, name) {
  let text = "";
  values.forEach((value, index) => {
    const [before, after] = [values[index - 1] ?? null, values[index + 1] ?? null];
    if (value !== null) text += `${before === null ? "M" : "L"}${x(index, values.length).toFixed(1)} ${y(value, highest).toFixed(1)}`;
    if (value !== null && before === null && after === null) text += "h1.5"; // a dash that can be seen
  });
  const made = document.createElementNS(SVG, "path");
  made.setAttribute("d", text);
  made.setAttribute("class", `line ${name}`);
  return made;
}

const lines = (drawn, highest) => drawn.map((values, index) => path(values, highest, `c${index}`));

function areas(drawn, highest) {
  return drawn.map((upper, index) => {
    const lower = drawn[index - 1] ?? upper.map(() => 0);
    const points = [...upper.map((v, i) => [x(i, upper.length), y(v, highest)]), ...lower.map((v, i) => [x(i, lower.length), y(v, highest)]).reverse()];
    const made = document.createElementNS(SVG, "polygon");
    made.setAttribute("points", points.map((point) => point.map((each) => each.toFixed(1)).join(",")).join(" "));
    made.setAttribute("class", `area c${index}`);
    return made;
  });
}

function stack(series) {
  let below = [];
  return series.map(([, values]) => (below = values.map((value, index) => value + (below[index] ?? 0))));
}

function key(name, index, kind) {
  const made = element("li");
  const mark = document.createElementNS(SVG, "svg");
  mark.setAttribute("viewBox", "0 0 24 8");
  mark.ariaHidden = "true";
  const shape = document.createElementNS(SVG, kind === "stacked" ? "rect" : "path");
  const look = kind === "stacked" ? { width: 24, height: 8, class: `area c${index}` } : { d: "M0 4H24", class: `line ${index === "limit" ? "limit" : `c${index}`}` };
  for (const [attribute, value] of Object.entries(look)) shape.setAttribute(attribute, value);
  mark.append(shape);
  made.append(mark, element("bdi", "", name.slice(0, 40)));
  return made;
}

function fillTable(region, title, times, series, format) {
  const table = element("table", "data");
  const head = element("tr");
  head.append(...["Time", ...series.map(([name]) => name)].map((name) => Object.assign(element("th", "", name), { scope: "col" })));
  const rows = times.map((time, index) => {
    const row = element("tr");
    row.append(Object.assign(element("th", "", clock(time)), { scope: "row" }), ...series.map(([, values]) => element("td", "", format(values[index]))));
    return row;
  });
  const body = element("tbody");
  body.append(...rows.reverse());
  const top = element("thead");
  top.append(head);
  table.append(element("caption", "hidden", title), top, body);
  region.tabIndex = 0;
  region.role = "region";
  region.ariaLabel = `${title}, data`;
  region.replaceChildren(table);
}

const clock = (time) => new Date(time * 1000).toISOString().slice(11, 19);
const short = (value) => (value == null ? "–" : Number(value.toPrecision(3)).toString());
const milliseconds = (value) => (value == null ? "–" : value >= 1000 ? `${Number((value / 1000).toPrecision(2))} s` : `${Number(value.toPrecision(2))} ms`);
function bytes(value) {
  if (value == null) return "–";
  const power = value ? Math.min(3, Math.floor(Math.log2(value) / 10)) : 0;
  return `${Number((value / 1024 ** power).toPrecision(3))} ${["B", "KiB", "MiB", "GiB"][power]}`;
}
