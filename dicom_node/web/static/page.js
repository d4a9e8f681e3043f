// Says when the node does not answer, since a page that renews itself must not look alive when it is not; what has
// changed, to who hears the page; and when a picture cannot be shown.
"use strict";
let isPressed = false; // by the mouse or a finger: what is pressed stays until it is let go, or another would be clicked
for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
  addEventListener(name, (event) => { isPressed = (event.buttons & 1) === 1; }, true);
const mark = (isAway) => document.documentElement.classList.toggle("away", isAway);
addEventListener("htmx:sendError", () => mark(true));
addEventListener("htmx:responseError", () => mark(true));
// What is as it was is left alone: what somebody has marked, and where a screen reader reads, would be gone.
const live = () => document.getElementById("live");
let shown = live()?.innerHTML;
addEventListener("htmx:beforeSwap", (event) => {
  mark(false);
  const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").getElementById("live");
  if (fresh?.innerHTML === shown) live().setAttribute("hx-get", fresh.getAttribute("hx-get"));
  event.detail.shouldSwap &&= !isPressed && fresh?.innerHTML !== shown;
  if (event.detail.shouldSwap) shown = fresh?.innerHTML;
});
addEventListener("htmx:configRequest", (event) => { event.detail.path = event.detail.elt.getAttribute("hx-get"); });
addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) mark(false); });
// Once, and no more of it than that: of a live region that renews itself all would be read out again and again.
const news = document.getElementById("news");
const newest = () => live()?.dataset.news ?? "";
let told = newest();
addEventListener("htmx:afterSwap", () => { if (newest() !== told) news.textContent = told = newest(); });
const tell = (image) => { image.alt = image.dataset.failed ?? image.alt; };
addEventListener("error", (event) => { if (event.target instanceof HTMLImageElement) tell(event.target); }, true);
for (const image of document.images) if (image.complete && !image.naturalWidth) tell(image); // before this was loaded
