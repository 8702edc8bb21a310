// Buttons that do something: `<button form="verbs" formaction="…" data-confirm="…">`.
//
// Without this script they post and the page comes back. With it they ask first where they should, post in the
// background, tell what became of it and fetch what changed.

import { refresh } from "./live.js";

export function start() {
  addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[form='verbs'], button[data-confirm]");
    if (!button || button.dataset.agreed) return;
    event.preventDefault();
    if (button.dataset.confirm && !(await ask(button))) return;
    if (button.getAttribute("form") === "verbs") return run(button);
    button.dataset.agreed = "yes";
    button.click();
  }, true);
  // a form is sent once, however often one clicks
  addEventListener("submit", (event) => {
    if (event.target.method !== "post" || event.defaultPrevented) return;
    setTimeout(() => { for (const button of event.target.querySelectorAll("button[type=submit]")) button.disabled = true; });
  });
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form button[type=submit][disabled]")) button.disabled = false;
  });
}

/** Ask once whether to do it. */
function ask(button) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = button.dataset.confirm;
  document.getElementById("confirm-text").textContent = button.dataset.effect || "";
  document.getElementById("confirm-yes").textContent = button.dataset.yes || button.textContent.trim();
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function run(button) {
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await post(button.formAction);
    if (answer.url) return void (location.href = answer.url);
    tell(answer.message);
    refresh();
  } catch (problem) {
    tellProblem(problem);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** Post a form's fields; returns the answer, throws a problem (what, meaning, fix). */
export async function post(address, fields = {}) {
  const body = new FormData(document.getElementById("verbs"));
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  let response;
  try {
    response = await fetch(address, { method: "POST", body, headers: { Accept: "application/json" } });
  } catch {
    throw { title: "GAIA does not answer", detail: "Nothing was done, or it is not known.", fix: "Look again in a moment." };
  }
  if (response.redirected) location.reload(); // signed out
  const type = response.headers.get("Content-Type") || "";
  const answer = type.includes("json") ? await response.json() : null;
  if (response.ok && answer) return answer;
  throw answer || { title: `The server answered ${response.status}`, fix: "Reload the page and try again." };
}

/** A short message that goes away by itself. */
export function tell(message) {
  if (!message) return;
  const note = document.createElement("div");
  note.className = "note note-success";
  note.textContent = message;
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 5000);
}

/** An error in three parts, which stays until it is closed. */
export function tellProblem({ title, detail, fix, facts }) {
  const note = document.createElement("div");
  note.className = "note note-error";
  const text = document.createElement("div");
  for (const [words, name] of [[`${title}.`, "note-what"], [detail, ""], [fix, "note-fix"]]) {
    if (!words || words === ".") continue;
    const line = document.createElement("p");
    line.className = name;
    line.textContent = words;
    text.append(line);
  }
  if (facts) text.append(copyable(facts));
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button button-small";
  close.textContent = "Close";
  close.addEventListener("click", () => note.remove());
  note.append(text, close);
  document.getElementById("toasts").append(note);
}

function copyable(facts) {
  const more = document.createElement("details");
  more.innerHTML = '<summary>Detail</summary><button type="button" class="ident" data-copy title="Copy"></button>';
  more.querySelector("button").textContent = JSON.stringify(facts, null, 2);
  return more;
}
