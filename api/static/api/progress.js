// Keeps <section id="progress" data-running> as it is on the server, every second, until it no longer runs.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const look = async () => {
    const here = document.getElementById("progress");
    if (!here || !("running" in here.dataset)) return;
    try {
      const response = await fetch(location.href, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const now = page.getElementById("progress");
      if (response.ok && now) here.replaceWith(document.adoptNode(now));
    } catch {
      // the next request may succeed
    }
    setTimeout(look, 1000);
  };
  look();
});
