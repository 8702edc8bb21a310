// Git in the console: forms of verbs that are sent in the background, and the keys of the diff page.

import { refresh } from "./live.js";
import { post, tell, tellProblem } from "./verbs.js";

export function start() {
  addEventListener("submit", (event) => {
    const form = event.target.closest?.("form[data-verb]");
    if (!form) return;
    event.preventDefault();
    send(form, event.submitter);
  }, true);
  if (document.querySelector("[data-file]")) startDiff();
  const stale = document.querySelector("[data-stale]");
  if (stale) document.addEventListener("gaia:event", ({ detail: { kind, subject } }) => {
    if (subject === stale.dataset.stale && /^(git\.|environment\.git)/.test(kind)) stale.hidden = false;
  });
}

/** Do the verb, tell what became of it, fetch what changed. */
async function send(form, button) {
  if (button?.getAttribute("aria-busy")) return;
  delete button?.dataset.agreed; // the next time it is asked about again
  button?.setAttribute("aria-busy", "true");
  try {
    const answer = await post(form.action, Object.fromEntries(new FormData(form)));
    if (form.dataset.then === "reload") return void location.reload();
    if (form.hasAttribute("data-clear")) form.reset();
    tell(answer.message);
  } catch (problem) {
    tellProblem(problem);
  } finally {
    button?.removeAttribute("aria-busy");
    refresh();
  }
}

function startDiff() {
  const files = () => [...document.querySelectorAll("[data-file]")];
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !["j", "k"].includes(event.key)) return;
    if (event.target.closest?.("input, textarea, select") || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    walk(files(), event.key === "j" ? 1 : -1);
  });
  addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-fold]");
    if (button) for (const file of files()) file.open = button.dataset.fold === "no";
    // a link to a file that is folded unfolds it
    const link = event.target.closest?.(".diff-list a[href^='#']");
    const file = link && document.querySelector(link.hash);
    if (file?.matches("[data-file]")) file.open = true;
  });
}

/** Go to the file after, or before, the one that is at the top of the window. */
function walk(files, step) {
  const edge = document.querySelector(".top")?.getBoundingClientRect().bottom || 0;
  const focused = files.findIndex((file) => file.firstElementChild === document.activeElement);
  const first = files.findIndex((file) => file.getBoundingClientRect().bottom > edge + 2);
  const at = focused >= 0 ? focused : first - (step > 0 ? 1 : 0);
  const next = files[Math.max(0, Math.min(files.length - 1, at + step))];
  next.firstElementChild.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start" });
}
