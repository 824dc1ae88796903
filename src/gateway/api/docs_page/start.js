"use strict";
const container = document.getElementById("docs");
const root = new URL(container.dataset.root, document.baseURI);

// `?url=` may name the document of a version, relative to the gateway: no other address is ever loaded.
function chosenDocument() {
  const own = new URL(container.dataset.document, document.baseURI);
  const asked = new URLSearchParams(location.search).get("url");
  if (asked === null || !URL.canParse(asked, root)) {
    return own;
  }
  const url = new URL(asked, root);
  const isOurs = url.protocol === root.protocol && url.host === root.host && url.pathname.startsWith(root.pathname);
  const path = url.pathname.slice(root.pathname.length);
  return isOurs && /^models?\/[^/]+\/[^/]+\/openapi\.json\/?$/.test(path) ? url : own;
}

SwaggerUIBundle({
  url: chosenDocument().href,
  domNode: container,
  deepLinking: true,
  validatorUrl: null,
});
