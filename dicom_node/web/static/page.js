// Says when the node does not answer, since a page that renews itself must not look alive when it is not; and when a
// picture cannot be shown.
"use strict";
const mark = (isAway) => document.documentElement.classList.toggle("away", isAway);
addEventListener("htmx:sendError", () => mark(true));
addEventListener("htmx:responseError", () => mark(true));
addEventListener("htmx:beforeSwap", () => mark(false));
addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) mark(false); });
const tell = (image) => { image.alt = image.dataset.failed ?? image.alt; };
addEventListener("error", (event) => { if (event.target instanceof HTMLImageElement) tell(event.target); }, true);
for (const image of document.images) if (image.complete && !image.naturalWidth) tell(image); // before this was loaded
