// The name that a goal would get under the naming template as it is typed (goals/naming.py says the same).
"use strict";

addEventListener("DOMContentLoaded", () => {
  const field = document.querySelector("[name=goal_name_template]");
  const preview = document.querySelector("[data-template-preview]");
  field?.addEventListener("input", () => {
    const parts = field.value.split("{name}");
    preview.textContent =
      parts.length === 2 && field.value.split("{type}").length === 2
        ? parts.map((part) => part.replaceAll("{type}", "track")).join(preview.dataset.name)
        : "– it must contain {type} and {name} once each";
  });
});
