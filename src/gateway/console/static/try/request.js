// Requests to the public API, with the key that the page holds, and one retry where the gateway asks for it.

import { key, request as ask } from "../access.js";

const MAX_WAIT_SECONDS = 60;

export function invocationUrl(root, name, version, query) {
  return new URL(`model/${encodeURIComponent(name)}/${encodeURIComponent(version)}/invocation${query}`, root).href;
}

export function hasKey() {
  return key() !== "";
}

// A POST with a body of a media type; the key is added.
export function post({ url, type, body }, signal) {
  return ask(url, { method: "POST", headers: { "Content-Type": type }, body, signal, cache: "no-store" });
}

// Sends `{url, type, body}`; resolves to `{ok, status, headers, text, seconds}`. `waiting` gets the seconds left
// before the retry of a 503.
export async function send(request, { signal, waiting, retries = 1 }) {
  const started = performance.now();
  const response = await post(request, signal);
  const after = Number(response.headers.get("Retry-After"));
  if (response.status === 503 && retries > 0 && after > 0 && after <= MAX_WAIT_SECONDS) {
    await response.body?.cancel();
    for (let left = after; left > 0; left--) {
      waiting(left);
      await pause(1000, signal);
    }
    waiting(0);
    return send(request, { signal, waiting, retries: retries - 1 });
  }
  const text = await response.text();
  return { ok: response.ok, status: response.status, headers: response.headers, text, seconds: (performance.now() - started) / 1000 };
}

export async function getJson(url) {
  const response = await ask(url, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
