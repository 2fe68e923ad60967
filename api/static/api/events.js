// Fills the list of events: asks for new ones, and for the current state of those that are queued, when live.js says so.
// While a person reads, new rows are held behind a button, so that no row moves. A person reads who has scrolled, looks into a row, has the
// keyboard in one or selects text.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const MOST_ROWS = 200;
  const table = document.querySelector("tbody[data-rows]");
  const news = document.getElementById("news");
  const pause = document.getElementById("pause");
  const more = document.getElementById("more");
  const held = new Map(); // rows by id
  let after = table.dataset.after;
  let isPaused = false;

  const isSelected = (part) => !getSelection().isCollapsed && getSelection().containsNode(part, true);
  const isReading = () =>
    scrollY > 8 || table.contains(document.activeElement) || isSelected(table) || document.querySelector("#peek:not([hidden])");
  const amount = (count) => (count === 1 ? "1 new event" : `${count}${count < MOST_ROWS ? "" : "+"} new events`);

  // Returns false for a row whose text is selected, which stays until it no longer is. A row keeps its mark and the keyboard.
  const replace = (known, row) => {
    row.classList.toggle("gp-looked", known.classList.contains("gp-looked"));
    if (known.outerHTML === row.outerHTML) return true;
    if (isSelected(known)) return false;
    const isFocused = known.contains(document.activeElement);
    known.replaceWith(row);
    if (isFocused) row.querySelector("a").focus({ preventScroll: true });
    return true;
  };
  const insert = (row) => {
    const older = [...table.rows].find((each) => Number(each.dataset.id) < Number(row.dataset.id));
    table.insertBefore(row, older ?? null);
  };

  // A line above the first event of each day, also if it came while the page was open.
  const separate = () => {
    for (const line of table.querySelectorAll(".gp-day")) line.remove();
    let day;
    for (const row of [...table.rows].filter((each) => each.dataset.day !== day && (day = each.dataset.day))) {
      const line = document.createElement("tr");
      line.className = "gp-day";
      line.innerHTML = '<th colspan="6"></th>';
      line.firstChild.textContent = row.dataset.day;
      row.before(line);
    }
  };

  // Puts the rows that were held into the list.
  const show = () => {
    const count = held.size;
    for (const row of held.values()) insert(row);
    held.clear();
    more.hidden = true;
    while (table.rows.length > MOST_ROWS) {
      table.lastElementChild.remove();
    }
    if (count) {
      separate();
      document.getElementById("events").hidden = false;
      document.getElementById("no-events")?.remove();
    }
  };
  const showUnlessReading = () => {
    more.hidden = !held.size || !isReading();
    more.textContent = amount(held.size);
    if (more.hidden) show();
  };

  const look = async () => {
    const address = new URL(table.dataset.rows, location.href);
    const rows = [...held.values(), ...table.rows];
    const open = rows.filter((row) => "open" in row.dataset).slice(0, 100).map((row) => row.dataset.id);
    address.searchParams.set("after", after);
    address.searchParams.set("open", open.join(","));
    const answer = await fetch(address, { redirect: "error" });
    if (!answer.ok || isPaused) {
      throw new Error(answer.status);
    }
    const found = await answer.json();
    after = found.after;
    const parsed = document.createElement("template");
    parsed.innerHTML = found.html;
    const before = held.size;
    let isWhole = true;
    for (const row of parsed.content.querySelectorAll("tr[data-id]")) {
      const known = table.querySelector(`tr[data-id="${row.dataset.id}"]`);
      if (known) isWhole = replace(known, row) && isWhole;
      else held.set(row.dataset.id, row);
    }
    const oldest = [...held.keys()].sort((one, other) => one - other).slice(0, -MOST_ROWS);
    for (const id of oldest) held.delete(id);
    if (held.size > before) news.textContent = amount(held.size);
    showUnlessReading();
    return isWhole;
  };

  const turn = async () => {
    if (isPaused) return false;
    try {
      const isWhole = await look();
      if (news.dataset.trouble) {
        news.textContent = "Live";
        delete news.dataset.trouble;
      }
      return isWhole;
    } catch {
      if (!isPaused) {
        news.textContent = "The server does not answer, or you are signed out. Reconnecting…";
        news.dataset.trouble = "yes";
      }
      return false;
    }
  };

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Resume" : "Pause";
    news.textContent = isPaused ? "Paused" : "Live";
  });
  more.addEventListener("click", () => {
    show();
    document.getElementById("events").focus({ preventScroll: true });
    scrollTo(0, 0);
  });
  setInterval(() => held.size && showUnlessReading(), 300);
  news.textContent = "Live";
  live.follow(turn, { every: 1, least: 1 });
});
