// Accessible names of fields in tables, scrolling by keyboard, and adaptations to small screens.
"use strict";

addEventListener("DOMContentLoaded", () => {
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
    for (const fold of document.querySelectorAll("details.gp-fold:not([data-set])")) {
      fold.open = false;
      fold.dataset.folded = "";
    }
  }
});
