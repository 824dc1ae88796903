// What a person showed of who they are: kept in this tab, sent to this gateway only.
export const root = new URL(`${document.body.dataset.root}/`, document.baseURI);
const NAME = "gateway-key";

export const key = () => sessionStorage.getItem(NAME) ?? "";
export const keep = (text) => {
  if (text !== key()) sessionStorage.clear(); // what the holder of another key tried
  sessionStorage.setItem(NAME, text);
};
export const forget = () => sessionStorage.removeItem(NAME);

/** Like fetch, of a path of the gateway or a URL, with the key if there is one. */
export async function request(address, options = {}) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  return fetch(new URL(address, root), { ...options, headers, redirect: "error" });
}
