// Accessibility that the theme lacks on every page of the admin, and adaptations to small screens.
"use strict";

addEventListener("DOMContentLoaded", () => {
  // The switcher of sites, the menu of a phone and that of the person answer to a mouse only.
  for (const control of document.querySelectorAll("div[x-on\\:click], span[x-on\\:click]")) {
    control.tabIndex = 0;
    control.role = "button";
    if (control.matches(".material-symbols-outlined")) control.ariaLabel = "Menu";
    control.addEventListener("keydown", (pressed) => {
      if (pressed.key !== "Enter" && pressed.key !== " ") return;
      pressed.preventDefault();
      control.click();
    });
  }
  addEventListener("keydown", (pressed) => {
    if (pressed.key === "Escape") document.body.click(); // the theme closes what was not clicked into
  });
  // An icon is a word in an icon font. Hide it from screen readers, which would read "flag Goals", unless it is alone.
  for (const icon of document.querySelectorAll(".material-symbols-outlined")) {
    const control = icon.closest("a, button, summary");
    if (icon.role === "button") continue;
    if (!control || control.ariaLabel || control.title || control.textContent.trim() !== icon.textContent.trim()) {
      icon.setAttribute("aria-hidden", "true");
    }
  }
  // Fields in a table are called as their column.
  for (const field of document.querySelectorAll("td :is(input:not([type=hidden]), select, textarea)")) {
    const cell = field.closest("td");
    const head = cell.closest("table").tHead?.rows[0]?.cells[cell.cellIndex];
    if (!field.labels?.length && !field.ariaLabel && head) field.ariaLabel = head.textContent.trim();
  }
  // A keyboard scrolls what has the focus.
  for (const box of document.querySelectorAll(".gp-scroll:not([tabindex])")) box.tabIndex = 0;
  // Filters that are not set would fill the first screen of a phone.
  if (matchMedia("(max-width: 40rem)").matches) {
    for (const fold of document.querySelectorAll("details.gp-fold:not([data-set])")) fold.open = false;
  }
});
