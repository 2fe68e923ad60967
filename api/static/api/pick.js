// The box over a column of boxes ticks all of them, and the bar says how many are; without this neither is there.
"use strict";

(() => {
  const boxes = () => [...document.querySelectorAll('input[type="checkbox"][name="goal"]')];
  const look = () => {
    const all = document.getElementById("pick-all");
    const picked = boxes().filter((box) => box.checked).length;
    for (const count of document.querySelectorAll("[data-picked]")) count.textContent = picked;
    if (!all) return;
    all.hidden = false;
    all.checked = picked > 0 && picked === boxes().length;
    all.indeterminate = picked > 0 && picked < boxes().length;
  };
  addEventListener("change", (event) => {
    if (event.target.id === "pick-all") for (const box of boxes()) box.checked = event.target.checked;
    if (event.target.matches('#pick-all, input[name="goal"]')) look();
  });
  addEventListener("DOMContentLoaded", look);
  addEventListener("pageshow", look); // a browser that goes back restores the boxes
  addEventListener("htmx:afterSwap", look);
})();
