"use strict";
const container = document.getElementById("docs");
SwaggerUIBundle({
  url: new URL(container.dataset.document, document.baseURI).href,
  domNode: container,
  deepLinking: true,
  validatorUrl: null,
});
