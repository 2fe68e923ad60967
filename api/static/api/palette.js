// Keys of every page: Ctrl+K and / search anything. A letter after g goes to a page. j and k move in a list. ? lists the
// keys. htmx fetches the results of the search.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const palette = document.getElementById("palette");
  if (!palette) return;
  const field = palette.querySelector("input");
  const found = document.getElementById("palette-found");
  const keys = document.getElementById("keys");
  const options = () => [...found.querySelectorAll("a[role=option]")];
  const chosen = () => found.querySelector("[aria-selected=true]");

  const choose = (option) => {
    chosen()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) field.setAttribute("aria-activedescendant", option.id);
    else field.removeAttribute("aria-activedescendant");
  };
  const move = (step) => {
    const all = options();
    const place = all.indexOf(chosen());
    choose(all[(place + step + all.length) % all.length]);
  };
  const open = () => {
    keys.hidePopover();
    palette.showModal();
    field.select();
    htmx.trigger(field, "look");
  };

  found.addEventListener("htmx:afterSwap", () => choose(options()[0]));
  field.addEventListener("input", () => choose()); // the choice was found for the text before
  palette.addEventListener("click", (event) => {
    if (event.target === palette) palette.close(); // the backdrop
  });
  palette.addEventListener("submit", (event) => {
    const option = chosen();
    if (!option) return;
    event.preventDefault();
    option.click();
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.isComposing) return;
    event.preventDefault();
    move(step);
  });
  document.querySelector("[data-palette]").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    open();
  });

  const links = () => [...document.querySelectorAll("main .gp-table tbody tr")].map((row) => row.querySelector("a[href]")).filter((link) => link?.checkVisibility());
  const step = (by) => {
    const all = links();
    const row = document.activeElement?.closest?.("main tbody tr");
    const place = all.findIndex((link) => row?.contains(link));
    all[place < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(place + by, 0), all.length - 1)]?.focus();
  };

  let afterG = -Infinity;
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (palette.open) palette.close();
      else open();
      return;
    }
    const isTyping = event.target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], dialog[open]");
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping) return;
    if (event.timeStamp - afterG < 1500) {
      afterG = -Infinity;
      const link = document.querySelector(`#menu a[data-key="${CSS.escape(event.key)}"]`);
      if (link) {
        event.preventDefault();
        location.assign(link.href);
        return;
      }
    }
    if (event.key === "g") afterG = event.timeStamp;
    else if (event.key === "/") {
      event.preventDefault();
      open();
    } else if (event.key === "?") keys.togglePopover();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
  });
});
