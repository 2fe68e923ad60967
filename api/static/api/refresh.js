// A part of a page that renews itself: <div data-refresh="30">, in seconds. It waits while the tab is hidden. It also waits while a person
// uses it: a menu or a table is open, or the keyboard is in it. Without JavaScript the page stays as it is.
"use strict";

(() => {
  const isBusy = (part) => document.hidden || part.querySelector("details[open]") || part.contains(document.activeElement);
  const renew = async (part) => {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-refresh]");
    if (!fresh || isBusy(part)) return;
    part.replaceChildren(...fresh.childNodes);
    document.title = page.title;
    document.dispatchEvent(new Event("gp:renewed"));
  };
  addEventListener("DOMContentLoaded", () => {
    const part = document.querySelector("[data-refresh]");
    if (part) setInterval(() => isBusy(part) || renew(part).catch(() => undefined), Number(part.dataset.refresh) * 1000);
  });
})();
