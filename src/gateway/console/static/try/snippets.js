// A request as a line for a shell, and as code. What stands in it came from strangers: each language's own quoting.

const VARIABLE = "GATEWAY_API_KEY";

export const LANGUAGES = ["curl", "Python", "JavaScript", "R"];

// `request` is {url, type, body, file, withKey}; `file` is a file's name in place of a body.
export function snippet(language, request) {
  return { curl, Python: python, JavaScript: javascript, R: r }[language](request);
}

// In a paste, some terminals take control characters for keys, and editors show text out of order by marks of
// direction. JSON has both only in its texts.
const UNSEEN = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

function escape(text) {
  return text.replace(UNSEEN, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// A string literal of Python, JavaScript and R: JSON's escapes mean the same in all of them.
function literal(text) {
  return escape(JSON.stringify(text));
}

function curl({ url, type, body, file, withKey }) {
  const data = file === undefined ? `--data-raw ${shell(escape(body))}` : `--data-binary ${shell(`@${file}`)}`;
  const lines = [`curl --globoff ${shell(url)}`, `-H ${shell(`Content-Type: ${type}`)}`, withKey && `-H "Authorization: Bearer $${VARIABLE}"`, data];
  return lines.filter(Boolean).join(" \\\n  ");
}

function python({ url, type, body, file, withKey }) {
  const key = withKey ? `, "Authorization": "Bearer " + os.environ["${VARIABLE}"]` : "";
  const data = file === undefined ? `${literal(body)}.encode()` : `open(${literal(file)}, "rb").read()`;
  return `${withKey ? "import os\n" : ""}import requests

answer = requests.post(
    ${literal(url)},
    data=${data},
    headers={"Content-Type": ${literal(type)}${key}},
)
answer.raise_for_status()
print(answer.json())
`;
}

function javascript({ url, type, body, file, withKey }) {
  const key = withKey ? `, Authorization: \`Bearer \${process.env.${VARIABLE}}\`` : "";
  const read = file === undefined ? "" : `import { readFile } from "node:fs/promises";\n\n`;
  return `${read}const answer = await fetch(${literal(url)}, {
  method: "POST",
  headers: { "Content-Type": ${literal(type)}${key} },
  body: ${file === undefined ? literal(body) : `await readFile(${literal(file)})`},
});
if (!answer.ok) throw new Error(await answer.text());
console.log(await answer.json());
`;
}

function r({ url, type, body, file, withKey }) {
  const data = file === undefined ? `req_body_raw(${literal(body)}, ${literal(type)})` : `req_body_file(${literal(file)}, ${literal(type)})`;
  const headers = withKey ? ` |>\n  req_auth_bearer_token(Sys.getenv("${VARIABLE}"))` : "";
  return `library(httr2)

answer <- request(${literal(url)}) |>
  ${data}${headers} |>
  req_perform()
resp_body_json(answer)
`;
}
