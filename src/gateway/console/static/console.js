// What every page loads: theme, access, tabs, live data and charts.
import { fill } from "./frame.js";
import * as charts from "./charts.js";
import * as live from "./live.js";
import { makeButtons } from "./manage.js";
import { makeSortable } from "./table.js";
import { makeTabs } from "./tabs.js";

const THEMES = ["auto", "light", "dark"];
const theme = document.getElementById("theme");

function useTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
  theme.dataset.name = name;
}

useTheme(localStorage.getItem("gateway-theme") ?? "auto");
theme.addEventListener("click", () => {
  const name = THEMES[(THEMES.indexOf(theme.dataset.name) + 1) % THEMES.length];
  localStorage.setItem("gateway-theme", name);
  useTheme(name);
});

let main = document.getElementById("main");
if (main.dataset.content) {
  await fill(main);
  main = document.getElementById("main");
}
const each = (selector, make) => main.querySelectorAll(selector).forEach(make);
each(".tabs", makeTabs);
each("[data-sortable]", makeSortable);
each("[data-manage]", makeButtons);
for (const select of main.querySelectorAll(".filters select")) select.addEventListener("change", () => select.form.requestSubmit());
if (main.dataset.view) live.start(main);
each("#charts", charts.start);
