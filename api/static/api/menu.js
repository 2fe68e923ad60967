// Menus: <details class="gp-menu">. One is open at a time; Escape and a click elsewhere close it.
"use strict";

(() => {
  const menus = () => document.querySelectorAll("details.gp-menu[open]");
  const closeOthers = (kept) => menus().forEach((menu) => menu !== kept && menu.removeAttribute("open"));
  addEventListener("click", (event) => closeOthers(event.target.closest("details.gp-menu")));
  addEventListener("focusin", (event) => closeOthers(event.target.closest("details.gp-menu")));
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menus().forEach((menu) => {
      menu.removeAttribute("open");
      menu.querySelector("summary").focus();
    });
  });
})();
