// <div data-renaming="id of a field" data-name="what it held">: shown only while the field holds something else.
"use strict";

addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-renaming]").forEach((note) => {
    const field = document.getElementById(note.dataset.renaming);
    // A text field loses line ends.
    const before = note.dataset.name.replace(/[\r\n]/g, "");
    const tell = () => {
      note.hidden = field.value === before;
    };
    field.addEventListener("input", tell);
    tell();
  });
});
