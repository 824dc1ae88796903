// JSON whose numbers keep their digits. JavaScript rounds integers beyond 2^53, so no number becomes one here.

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const NOT_FINITE = new Set(["NaN", "Infinity", "-Infinity"]);

export class Raw {
  constructor(source) { this.source = source; }
  toString() { return this.source; }
}

// Returns a document whose numbers are Raw where the browser tells their source; ES2025 has it.
export function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source !== undefined && String(value) !== context.source ? new Raw(context.source) : value);
}

// `indent` is "" for one line, or the line break and spaces before the value's members.
export function stringify(value, indent = "") {
  if (value instanceof Raw) return value.source;
  const inner = indent && `${indent}  `;
  const list = (open, items, close) => (items.length ? `${open}${inner}${items.join(inner ? `,${inner}` : ", ")}${indent}${close}` : open + close);
  if (Array.isArray(value)) return list("[", value.map((each) => stringify(each, inner)), "]");
  if (value !== null && typeof value === "object") {
    return list("{", Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${stringify(each, inner)}`), "}");
  }
  return JSON.stringify(value) ?? "null";
}

export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

// Returns the JSON of what a person wrote into a control; null is null. What is no number is sent as text:
// the gateway says what is wrong with it.
export function literal(text, control) {
  if (text === null) return "null";
  if (control === "text" || control === "binary") return JSON.stringify(text);
  const trimmed = text.trim();
  if (trimmed === "") return "null";
  if (control === "boolean") return trimmed === "true" || trimmed === "false" ? trimmed : JSON.stringify(text);
  if (control === "json") return isJson(trimmed) ? trimmed : JSON.stringify(text);
  if (control === "datetime") return JSON.stringify(trimmed);
  const number = trimmed.replace(/^\+(?=[\d.])/, "").replace(/^(-?)\./, "$10.").replace(/^(-?\d+)\.(?=$|[eE])/, "$1.0");
  if (NUMBER.test(number) || (control === "decimal" && NOT_FINITE.has(number))) return number;
  return JSON.stringify(text);
}
