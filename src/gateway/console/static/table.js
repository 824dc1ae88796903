// Lists that can be sorted by a click on a column's name.
const UNITS = { "%": 1, ms: 1, s: 1e3, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

export function makeSortable(table) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, head));
  }
  table.tHead.rows[0].cells[0].ariaSort = "ascending";
}

function sort(table, head) {
  const up = head.ariaSort !== "ascending";
  for (const other of head.parentElement.cells) other.ariaSort = null;
  head.ariaSort = up ? "ascending" : "descending";
  const index = head.cellIndex, numeric = head.classList.contains("number");
  const value = (row) => (numeric ? number(row.cells[index].innerText) : row.cells[index].innerText.trim());
  const compare = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, undefined, { numeric: true });
  const body = table.tBodies[0];
  const sorted = [...body.rows].map((row) => [value(row), row]).sort(([a], [b]) => (up ? 1 : -1) * compare(a, b));
  body.append(...sorted.map(([, row]) => row));
}

function number(text) {
  const found = /(-?[\d.]+)\s*(\S+)?/.exec(text);
  return found ? Number(found[1]) * (UNITS[found[2]] ?? 1) : -1;
}
