// Where inputs come from other than the keyboard: a spreadsheet's clipboard, and files.

import { button, el, field } from "./dom.js";

const MEDIA_TYPES = { csv: "text/csv", parquet: "application/vnd.apache.parquet", arrow: "application/vnd.apache.arrow.stream", arrows: "application/vnd.apache.arrow.stream" };

export function pasteSource(take) {
  const area = el("textarea", { rows: 5, spellcheck: "false", id: "paste" });
  const fill = () => { if (area.value.trim()) take(area.value); };
  const hint = "Cells as a spreadsheet copies them, or CSV; a first line of column names may be there.";
  return el("div", { class: "source", hidden: true }, field("Paste here", area, hint), button("Fill the table", fill));
}

export function fileSource(take) {
  const input = el("input", { type: "file", accept: Object.keys(MEDIA_TYPES).map((ending) => `.${ending}`).join(",") });
  const note = el("p", { role: "status" });
  input.addEventListener("change", () => {
    const file = input.files[0] ?? null;
    const mediaType = file && MEDIA_TYPES[file.name.split(".").at(-1).toLowerCase()];
    note.textContent = file && !mediaType ? "The file's name must end in .csv, .parquet or .arrow." : file ? `${file.name}, ${file.size} bytes: sent as it is, without params.` : "";
    if (file && mediaType) file.mediaType = mediaType;
    take(file && mediaType ? file : null);
  });
  const element = el("div", { class: "source", hidden: true }, field("File", input), note);
  element.forget = () => { input.value = ""; note.textContent = ""; take(null); };
  return element;
}
