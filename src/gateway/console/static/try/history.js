// My last tries in this tab, for one version. They may hold data, so they end with the tab.

const KEY = "gateway.tries";
const MAX_TRIES = 30;
const MAX_CHARS = 20_000;

function all() {
  try {
    const tries = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(tries) ? tries : [];
  } catch {
    return [];
  }
}

export function triesOf(target) {
  return all().filter((each) => each.target === target);
}

export function remember(target, state) {
  const text = JSON.stringify(state);
  if (text.length > MAX_CHARS) return;
  const others = all().filter((each) => !(each.target === target && JSON.stringify(each.state) === text));
  const tries = [{ target, at: new Date().toISOString(), state }, ...others].slice(0, MAX_TRIES);
  try { sessionStorage.setItem(KEY, JSON.stringify(tries)); } catch { /* no storage, or it is full */ }
}
