// The builder of a segment without reloads: each button sends the form, and the answer's form takes its place. What was
// typed meanwhile is kept. Without this script the same buttons reload the page.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const find = (page) => page.querySelector("[data-builder]");
  const read = (form) => new URLSearchParams(new FormData(form));
  let queue = Promise.resolve();

  const send = async (choice) => {
    const form = find(document);
    const sent = read(form);
    const body = new URLSearchParams(sent);
    body.set("do", choice);
    form.setAttribute("aria-busy", "true");
    let response, page;
    try {
      response = await fetch(location.href, { method: "POST", body, credentials: "same-origin" });
      page = new DOMParser().parseFromString(await response.text(), "text/html");
    } finally {
      form.removeAttribute("aria-busy");
    }
    const next = find(page);
    if (!next) return form.submit(); // shows what the server says, for example the sign-in
    const focused = document.activeElement?.id;
    const now = read(form);
    form.replaceWith(document.adoptNode(next));
    for (const [name, value] of now) {
      const field = next.elements.namedItem(name);
      if (name !== "at" && sent.get(name) !== value && field && "value" in field) field.value = value;
    }
    const added = next.querySelector("[autofocus]");
    const fault = next.querySelector("[role=alert]");
    const target = added ?? (focused ? document.getElementById(focused) : null);
    if (choice === "preview") (fault ?? document.getElementById("preview"))?.scrollIntoView({ block: "nearest" });
    target?.focus({ preventScroll: !added });
  };
  const later = (choice) => {
    queue = queue.then(() => send(choice)).catch(() => {}); // the button may be pressed again
  };

  document.addEventListener("submit", (event) => {
    const choice = event.submitter?.value;
    if (!event.target.matches("[data-builder]") || choice === "save") return;
    event.preventDefault();
    later(choice);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-builder] [data-refresh]")) later("refresh");
  });
  document.addEventListener("click", (event) => {
    const name = event.target.dataset?.pick;
    if (!name) return;
    const field = document.getElementById(name);
    const lines = field.value.split("\n").filter((line) => line.trim());
    if (!lines.includes(event.target.textContent)) field.value = [...lines, event.target.textContent].join("\n");
    field.focus();
  });
});
