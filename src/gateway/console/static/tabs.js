// The parts of a page as tabs; without scripts they stand below each other.
export function makeTabs(list) {
  const links = [...list.querySelectorAll("a")];
  const panel = (link) => document.querySelector(link.getAttribute("href"));
  list.setAttribute("role", "tablist");
  for (const link of links) {
    const part = panel(link);
    link.setAttribute("role", "tab");
    link.id = `tab-${part.id}`;
    link.setAttribute("aria-controls", part.id);
    part.setAttribute("role", "tabpanel");
    part.setAttribute("aria-labelledby", link.id);
    part.removeAttribute("aria-label");
    link.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", link.href);
      select(link);
    });
  }
  const select = (chosen) => {
    for (const link of links) {
      link.setAttribute("aria-selected", String(link === chosen));
      link.tabIndex = link === chosen ? 0 : -1;
      panel(link).hidden = link !== chosen;
    }
  };
  list.addEventListener("keydown", (event) => {
    const at = links.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: links.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const link = links.at(to % links.length);
    link.focus();
    link.click();
  });
  const named = () => links.find((link) => link.getAttribute("href") === location.hash);
  addEventListener("hashchange", () => named() && select(named()));
  select(named() ?? links[0]);
}
