// A part of a page that renews itself when live.js says so: <div data-refresh="30">, in seconds without a stream. It waits while a person uses
// it: the keyboard is in it, text is selected, or the mouse is on a chart. It also waits while a table or menu is open, or a table is
// scrolled. Without JavaScript the page stays as it is.
"use strict";

(() => {
  const LEAST = 10; // seconds between two renewals, which cost a whole page each
  const isSelected = (part) => !getSelection().isCollapsed && part.contains(getSelection().anchorNode);
  const isBusy = (part) =>
    part.querySelector("details[open], .gp-chart:hover") ||
    part.contains(document.activeElement) ||
    isSelected(part) ||
    [...part.querySelectorAll(".gp-scroll")].some((box) => box.scrollLeft || box.scrollTop);
  const renew = async (part) => {
    if (isBusy(part)) return false;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return false;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-refresh]");
    if (!fresh || isBusy(part)) return false;
    part.replaceChildren(...fresh.childNodes);
    document.title = page.title;
    document.dispatchEvent(new Event("gp:renewed"));
    return true;
  };
  addEventListener("DOMContentLoaded", () => {
    const part = document.querySelector("[data-refresh]");
    if (part) live.follow(() => renew(part).catch(() => false), { every: Number(part.dataset.refresh), least: LEAST });
  });
})();
