// Says when the node does not answer, since a page that renews itself must not look alive when it is not; what has
// changed, to who hears the page; and when a picture cannot be shown.
"use strict";
let isPressed = false; // by the mouse or a finger: what is pressed stays until it is let go, or another would be clicked
for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
  addEventListener(name, (event) => { isPressed = (event.buttons & 1) === 1; }, true);
const mark = (isAway) => document.documentElement.classList.toggle("away", isAway);
addEventListener("htmx:sendError", () => mark(true));
addEventListener("htmx:responseError", () => mark(true));
addEventListener("htmx:beforeSwap", (event) => { mark(false); event.detail.shouldSwap &&= !isPressed; });
addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) mark(false); });
// Once, and no more of it than that: of a live region that renews itself all would be read out again and again.
const news = document.getElementById("news");
const newest = () => document.getElementById("live")?.dataset.news ?? "";
let told = newest();
addEventListener("htmx:afterSwap", () => { if (newest() !== told) news.textContent = told = newest(); });
const tell = (image) => { image.alt = image.dataset.failed ?? image.alt; };
addEventListener("error", (event) => { if (event.target instanceof HTMLImageElement) tell(event.target); }, true);
for (const image of document.images) if (image.complete && !image.naturalWidth) tell(image); // before this was loaded
