// Text of a spreadsheet or of CSV as rows of texts.

export function parseDelimited(text) {
  const source = text.replace(/^\uFEFF/, "");
  const end = source.search(/[\r\n]|$/);
  const line = source.slice(0, end);
  const delimiter = line.includes("\t") ? "\t" : line.includes(";") && !line.includes(",") ? ";" : ",";
  const rows = [];
  let row = [], cell = "", quoted = false, at = 0;
  const endCell = () => { row.push(cell); cell = ""; };
  const endRow = () => { endCell(); rows.push(row); row = []; };
  for (; at < source.length; at++) {
    const letter = source[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (source[at + 1] === '"') { cell += '"'; at++; } else quoted = false;
    } else if (letter === '"' && cell === "") quoted = true;
    else if (letter === delimiter) endCell();
    else if (letter === "\n" || letter === "\r") {
      if (letter === "\r" && source[at + 1] === "\n") at++;
      endRow();
    } else cell += letter;
  }
  if (cell !== "" || row.length) endRow();
  return rows;
}

// Returns the rows in the order of the columns: by name if the first row holds names, else by position.
// `unknown` names the columns of the text that the model does not have.
export function fitRows(rows, columns) {
  const names = columns.map((column) => column.label);
  const header = rows[0]?.map((name) => name.trim()) ?? [];
  const known = header.filter((name) => names.includes(name));
  const hasHeader = known.length > 0 && known.length * 2 >= header.length;
  const from = hasHeader ? names.map((name) => header.indexOf(name)) : names.map((_, at) => at);
  const unknown = hasHeader ? header.filter((name) => !names.includes(name)) : [];
  const body = (hasHeader ? rows.slice(1) : rows).filter((row) => row.length > 1 || row[0] !== "" || columns.length === 1);
  return { rows: body.map((row) => columns.map((column, at) => toCell(row[from[at]], column))), unknown, hasHeader };
}

function toCell(text, column) {
  if (text === undefined || (text === "" && (!column.required || column.control !== "text"))) return null;
  return column.control === "boolean" ? text.trim().toLowerCase() : text;
}
