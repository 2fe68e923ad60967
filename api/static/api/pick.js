// The box over a column of boxes ticks all of them; without this it is not there.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const all = document.getElementById("pick-all");
  const boxes = [...document.querySelectorAll('input[type="checkbox"][name="goal"]')];
  if (!all || !boxes.length) return;
  const look = () => {
    const picked = boxes.filter((box) => box.checked).length;
    all.checked = picked === boxes.length;
    all.indeterminate = picked > 0 && picked < boxes.length;
  };
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    look();
  });
  for (const box of boxes) box.addEventListener("change", look);
  look();
});
