// Ask every two seconds whether a source has sent its first event. `<p data-heard="address of the figures">` then turns
// green, and until then `<div data-refused>` names the refused keys.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector("[data-heard]");
  const box = document.querySelector("[data-refused]");
  const tell = (sentences) => {
    const notes = sentences.map((sentence) => {
      const note = document.createElement("p");
      note.className = "gp-note gp-bad";
      note.textContent = sentence;
      return note;
    });
    box.replaceChildren(...notes);
  };
  const look = async () => {
    try {
      const response = await fetch(place.dataset.heard, { headers: { accept: "application/json" } });
      const { received, taken, refused } = response.ok ? await response.json() : { received: 0, taken: 0, refused: [] };
      tell(refused);
      if (taken > 0) {
        place.className = "gp-note gp-good";
        place.textContent = `✓ The first event has come: ${taken.toLocaleString("en")} taken so far.`;
        return;
      }
      if (received > 0) {
        place.className = "gp-note gp-bad";
        place.textContent = `${received.toLocaleString("en")} came, and all were rejected. The events page says why.`;
      }
    } catch {
      // the next look will tell
    }
    setTimeout(look, 2000);
  };
  if (place && !place.classList.contains("gp-good")) look();
});
