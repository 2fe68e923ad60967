// Turns <p data-first-event="address of the counts"> green at the first event of a source; asks when live.js says so.
// Until then <div data-refused> says which keys were refused. <p data-trace> leads to the event, and steps get their ticks.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector("[data-first-event]");
  const box = document.querySelector("[data-refused]");
  const showRefused = (sentences) => {
    const notes = sentences.map((sentence) => {
      const note = document.createElement("p");
      note.className = "gp-note gp-bad";
      note.textContent = sentence;
      return note;
    });
    box.replaceChildren(...notes);
  };
  let stop;
  const look = async () => {
    try {
      const response = await fetch(place.dataset.firstEvent, { headers: { accept: "application/json" } });
      const { received, taken, refused, event } = response.ok ? await response.json() : { received: 0, taken: 0, refused: [], event: "" };
      showRefused(refused);
      if (event) {
        const trace = document.querySelector("[data-trace]");
        trace.firstElementChild.href = event;
        trace.hidden = false;
      }
      if (taken > 0) {
        place.className = "gp-note gp-good";
        for (const step of document.querySelectorAll("[data-after-event]")) step.classList.add("gp-done");
        stop();
        place.textContent = `✓ First event received: ${taken.toLocaleString("en")} so far.`;
        return;
      }
      if (received > 0) {
        place.className = "gp-note gp-bad";
        place.textContent = `All ${received.toLocaleString("en")} events were rejected. The events page says why.`;
      }
    } catch {
      return false; // the next request may succeed
    }
  };
  if (place && !place.classList.contains("gp-good")) stop = live.follow(look, { every: 2, least: 1 });
});
