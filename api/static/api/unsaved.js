// Notes that <form data-guard> has changed, so that its Save stays in view, and asks before the page is left.
"use strict";

addEventListener("DOMContentLoaded", () => {
  for (const form of document.querySelectorAll("form[data-guard]")) {
    let isChanged = form.dataset.guard === "changed";
    const written = () => new URLSearchParams(new FormData(form)).toString();
    const before = written();
    const show = () => form.classList.toggle("gp-changed", isChanged);
    form.addEventListener("input", () => {
      isChanged = form.dataset.guard === "changed" || written() !== before;
      show();
    });
    form.addEventListener("submit", () => {
      isChanged = false;
    });
    addEventListener("beforeunload", (event) => {
      if (isChanged) event.preventDefault();
    });
    show();
  }
});
