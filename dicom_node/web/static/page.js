// Says when the node does not answer: a page that renews itself must not look alive when it is not.
"use strict";
const mark = (isAway) => document.documentElement.classList.toggle("away", isAway);
addEventListener("htmx:sendError", () => mark(true));
addEventListener("htmx:responseError", () => mark(true));
addEventListener("htmx:beforeSwap", () => mark(false));
addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) mark(false); });
