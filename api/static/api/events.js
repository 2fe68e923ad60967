// Fills the list of events: asks for new ones, and for the current state of those that are queued, when live.js says so.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const MOST_ROWS = 200;
  const table = document.querySelector("tbody[data-rows]");
  const news = document.getElementById("news");
  const pause = document.getElementById("pause");
  let after = table.dataset.after;
  let isPaused = false;

  const put = (row) => {
    const known = table.querySelector(`tr[data-id="${row.dataset.id}"]`);
    if (known) {
      if (known.outerHTML !== row.outerHTML) {
        known.replaceWith(row);
      }
      return 0;
    }
    const older = [...table.rows].find((each) => Number(each.dataset.id) < Number(row.dataset.id));
    table.insertBefore(row, older ?? null);
    return 1;
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

  const look = async () => {
    const address = new URL(table.dataset.rows, location.href);
    const open = [...table.querySelectorAll("tr[data-open]")].slice(0, 100).map((row) => row.dataset.id);
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
    const count = [...parsed.content.querySelectorAll("tr[data-id]")].reduce((sum, row) => sum + put(row), 0);
    while (table.rows.length > MOST_ROWS) {
      table.lastElementChild.remove();
    }
    if (count) {
      separate();
      document.getElementById("events").hidden = false;
      document.getElementById("no-events")?.remove();
      news.textContent = count === 1 ? "1 new event" : `${count} new events`;
    }
  };

  const turn = async () => {
    if (isPaused) return false;
    try {
      await look();
      if (news.dataset.trouble) {
        news.textContent = "Live";
        delete news.dataset.trouble;
      }
      return true;
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
  news.textContent = "Live";
  live.follow(turn, { every: 1, least: 1 });
});
