// Looks into a row of a list without leaving it. Space in the row, or its button, opens a panel. It has what the row's page marks by
// data-summary. j and k go on to the next row, Escape closes. Rows have a link with data-peek. Without scripts it leads to the page.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const panel = document.createElement("div");
  Object.assign(panel, { id: "peek", className: "gp gp-peeked", hidden: true, tabIndex: -1 });
  panel.setAttribute("role", "dialog");
  panel.setAttribute("aria-labelledby", "peek-title");
  panel.innerHTML =
    '<div class="gp-peek-head"><h2 id="peek-title"></h2><a class="gp-button">Open</a><button type="button" class="gp-button" aria-label="Close">×</button></div>' +
    '<div class="gp-peek-body" hx-sync="this:replace" aria-live="polite"></div>';
  document.querySelector("main").after(panel);
  const [title, open, body] = ["h2", "a", ".gp-peek-body"].map((each) => panel.querySelector(each));
  const links = () => [...document.querySelectorAll("main a[data-peek]")].filter((link) => link.checkVisibility());
  const rowOf = (link) => link?.closest("tr");
  let shown;

  // A live list replaces its rows.
  const find = () => (shown?.isConnected ? shown : links().find((link) => link.href === shown?.href));

  const look = (link) => {
    rowOf(find())?.classList.remove("gp-looked");
    shown = link;
    rowOf(link).classList.add("gp-looked");
    rowOf(link).scrollIntoView({ block: "nearest" });
    title.textContent = link.dataset.peek || link.textContent;
    open.href = link.href;
    body.textContent = "Loading…";
    panel.hidden = false;
    panel.focus({ preventScroll: true });
    htmx.ajax("GET", link.href, { source: body, target: body, select: "[data-summary]", swap: "innerHTML ignoreTitle:true" });
  };
  const close = () => {
    panel.hidden = true;
    rowOf(find())?.classList.remove("gp-looked");
    find()?.focus();
    shown = undefined;
  };
  const step = (by) => {
    const all = links();
    const next = all[all.indexOf(find()) + by];
    if (next) look(next);
  };

  for (const trouble of ["htmx:responseError", "htmx:sendError"]) panel.addEventListener(trouble, () => (body.textContent = "This could not be loaded."));
  panel.querySelector("button").addEventListener("click", close);
  addEventListener("click", (event) => {
    const link = event.target.closest("button.gp-peek")?.closest("tr").querySelector("a[data-peek]");
    if (link) look(link);
  });
  // Before palette.js, whose j and k move the focus in the list.
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select");
    const row = event.target.closest?.("main tr");
    const link = row?.querySelector("a[data-peek]");
    let act;
    if (event.key === " " && link && event.target.matches("a")) act = () => look(link);
    else if (!panel.hidden && !isTyping) act = { j: () => step(1), k: () => step(-1), Escape: close }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    act();
  };
  addEventListener("keydown", press, true);
});
