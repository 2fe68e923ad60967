// A message with Undo floats over the page (frame/message.html): its cross and Escape close it. Without scripts it stays in its place.
"use strict";

(() => {
  const close = (toast) => toast.remove();
  addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-close]").forEach((button) => (button.hidden = false)));
  addEventListener("click", (event) => {
    const button = event.target.closest("[data-close]");
    if (button) close(button.closest(".gf-toast"));
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) document.querySelectorAll(".gf-toast").forEach(close);
  });
})();
