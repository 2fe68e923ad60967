// The builder of a segment without reloads: each button sends the form, and the answer's form takes its place. What was
// typed meanwhile is kept. Without this script the same buttons reload the page.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const find = (page) => page.querySelector("[data-builder]");
  const read = (form) => new URLSearchParams(new FormData(form));
  let queue = Promise.resolve();
  let released = Promise.resolve(); // a button that is pressed must stay until it is clicked

  const warn = (form, text) => {
    const note = document.createElement("p");
    note.className = "gp-note gp-warn";
    note.setAttribute("role", "alert");
    note.append(text);
    form.append(note);
  };

  const send = async (choice) => {
    const form = find(document);
    const sent = read(form);
    const body = new URLSearchParams(sent);
    body.set("do", choice);
    form.setAttribute("aria-busy", "true");
    let next;
    try {
      const response = await fetch(location.href, { method: "POST", body, credentials: "same-origin" });
      next = find(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch {
      return warn(form, "The server did not answer. Nothing is lost: press the button again.");
    } finally {
      form.removeAttribute("aria-busy");
    }
    if (!next) return warn(form, "The server refused this, perhaps because you are signed out. Copy what you typed, then reload the page.");
    await released;
    const focused = document.activeElement?.id;
    const now = read(form);
    form.replaceWith(document.adoptNode(next));
    for (const [name, value] of now) {
      const field = next.elements.namedItem(name);
      if (name !== "at" && sent.get(name) !== value && field && "value" in field) field.value = value;
    }
    const added = next.querySelector("[autofocus]");
    const fault = next.querySelector("[role=alert]");
    const shown = choice === "preview" ? (fault ?? document.getElementById("preview")) : null;
    const target = added ?? shown ?? (focused ? document.getElementById(focused) : null);
    shown?.setAttribute("tabindex", "-1");
    shown?.scrollIntoView({ block: "nearest" });
    target?.focus({ preventScroll: !added });
  };
  const later = (choice) => {
    queue = queue.then(() => send(choice));
  };

  document.addEventListener("pointerdown", () => {
    released = new Promise((resolve) => {
      for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => setTimeout(resolve), { once: true });
    });
  });
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
