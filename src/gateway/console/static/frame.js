// Fills a page that came without content, because the browser could not say whose it is.
import { forget, keep, request } from "./access.js";

const $ = (id) => document.getElementById(id);

/** Return when the page has its content. */
export function fill(main) {
  const address = new URL(main.dataset.content + location.search, document.baseURI);
  return new Promise((done) => {
    const show = async () => {
      const response = await request(address, { headers: { Accept: "text/html" } }).catch(() => null);
      if (response?.headers.get("Content-Type")?.startsWith("text/html")) {
        replace(main, new DOMParser().parseFromString(await response.text(), "text/html"));
        done();
      } else await ask(response);
    };
    $("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      keep($("key").value.trim());
      show();
    });
    show();
  });
}

async function ask(response) {
  const tried = $("ask").hidden === false;
  if (!response || response.status === 401) forget();
  $("loading").hidden = true;
  $("ask").hidden = false;
  $("key").focus();
  const said = await response?.json().catch(() => null);
  if (!response) $("key-problem").textContent = "The gateway does not answer.";
  else if (tried || response.status !== 401) $("key-problem").textContent = said?.message ?? `Error ${response.status}`;
}

function replace(main, found) {
  document.title = found.title;
  document.body.dataset.cursor = found.body.dataset.cursor;
  document.head.append(...found.querySelectorAll("head link"));
  const filled = document.adoptNode(found.getElementById("main"));
  main.replaceWith(filled);
  for (const script of filled.querySelectorAll("script[type=module][src]")) import(new URL(script.getAttribute("src"), document.baseURI));
}
