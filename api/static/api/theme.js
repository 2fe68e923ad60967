// Light, dark or as the system: the choice of this browser, under the key that Django's admin uses too. It runs before
// the page is drawn.
"use strict";

(() => {
  const root = document.documentElement;
  const read = () => localStorage.getItem("theme") || "auto";
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    for (const button of document.querySelectorAll("button[data-set-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.setTheme === theme));
    }
  };
  show(read());
  addEventListener("DOMContentLoaded", () => show(read()));
  addEventListener("storage", () => show(read()));
  addEventListener("click", (event) => {
    const button = event.target.closest("button[data-set-theme]");
    if (!button) return;
    localStorage.setItem("theme", button.dataset.setTheme);
    show(button.dataset.setTheme);
  });
})();
