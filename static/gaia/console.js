// The console's script: puts together what each page needs.

import { start as startLive } from "./live.js";
import { start as startGit } from "./git.js";
import { start as startKeys } from "./keys.js";
import { start as startPalette } from "./palette.js";
import { start as startScreens } from "./screen.js";
import { start as startTimes } from "./times.js";
import { start as startVerbs } from "./verbs.js";

startTimes();
startVerbs();
startGit();
startKeys();
startPalette();
startScreens();
startLive();

// copying an id
addEventListener("click", async (event) => {
  const ident = event.target.closest?.("[data-copy]");
  if (!ident) return;
  await navigator.clipboard.writeText(ident.dataset.copy || ident.textContent);
  ident.classList.add("copied");
  setTimeout(() => ident.classList.remove("copied"), 1200);
});

// menus close when one clicks elsewhere or presses Escape
addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// the navigation: a drawer on narrow screens, a column that can be put away on wide ones
addEventListener("click", (event) => {
  const root = document.documentElement;
  if (event.target.closest?.("[data-side-close]")) root.classList.remove("side-open");
  if (!event.target.closest?.("[data-side-toggle]")) return;
  if (matchMedia("(max-width: 1100px)").matches) {
    root.classList.toggle("side-open");
    document.querySelector("#side [data-side-close]")?.focus();
  } else {
    localStorage.setItem("gaia-side", root.classList.toggle("side-shut") ? "shut" : "open");
  }
});
