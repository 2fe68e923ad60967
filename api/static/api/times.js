// Keeps relative times right while a page is open: <time data-ago="seconds">, as api/http/wording.py writes them.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const UNITS = [[86400, "day"], [3600, "h"], [60, "min"], [1, "s"]];
  const WEEK = 7 * 86400;
  let absolute = false;

  const words = (seconds) => {
    const apart = Math.abs(seconds);
    const [size, unit] = UNITS.find(([each]) => apart >= each) ?? [1, "s"];
    const number = Math.floor(apart / size);
    const text = `${number} ${unit === "day" && number > 1 ? "days" : unit}`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  };

  const turn = () => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      // The clock of this machine may be wrong, so only its progress counts.
      time.beganAt ??= Date.now() - Number(time.dataset.ago) * 1000;
      const seconds = (Date.now() - time.beganAt) / 1000;
      const [moment, zone] = time.title.split(" (");
      const text = absolute && zone ? moment : Math.abs(seconds) < WEEK ? words(seconds) : moment.split(",")[0];
      if (time.textContent !== text) time.textContent = text;
    }
  };

  // A click swaps all of them with their absolute times.
  addEventListener("click", (clicked) => {
    if (!clicked.target.closest("time[data-ago]") || clicked.target.closest("a, button")) return;
    absolute = !absolute;
    turn();
  });
  turn();
  setInterval(turn, 1000);
});
