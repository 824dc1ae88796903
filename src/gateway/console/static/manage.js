// Buttons that load and unload a version, by the same calls that any client can make.
import { request } from "./access.js";

export function makeButtons(actions) {
  actions.hidden = false;
  const said = actions.querySelector("[role=status]");
  for (const button of actions.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      said.textContent = button.dataset.do === "load" ? "Loading …" : "Unloading …";
      const body = JSON.stringify({ parameters: { version: actions.dataset.version } });
      const options = { method: "POST", body, headers: { "Content-Type": "application/json" } };
      const response = await request(new URL(`${actions.dataset.manage}/${button.dataset.do}`, document.baseURI), options).catch(() => null);
      const answer = await response?.json().catch(() => null);
      said.textContent = response?.ok ? "Done." : (answer?.error ?? answer?.message ?? "The gateway does not answer.");
      button.disabled = false;
    });
  }
}
