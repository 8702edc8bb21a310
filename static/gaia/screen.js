// What is read again and again while one looks at it: a session's screen, a log; and the box to type into a session.

import { post, tellProblem } from "./verbs.js";

const EVERY_MS = 1000;
const AFTER_KEYS_MS = [60, 250, 700];
const LONGEST_LOG = 400_000; // characters kept of a log that is followed

export function start() {
  for (const element of document.querySelectorAll("[data-screen]")) follow(element, readScreen);
  for (const element of document.querySelectorAll("[data-tail]")) follow(element, readTail);
  const form = document.getElementById("prompt");
  if (form) startPrompt(form);
}

function follow(element, read) {
  let reading = false;
  const look = async () => {
    if (reading || document.hidden || !element.isConnected || element.closest("[hidden]")) return;
    reading = true;
    await read(element).catch(() => {});
    reading = false;
  };
  element.addEventListener("gaia:look", look);
  look();
  setInterval(look, EVERY_MS);
  document.addEventListener("visibilitychange", look);
}

async function readScreen(element) {
  // the session has ended: what stands here now, buttons included, is another page
  if (document.querySelector("[data-over]")) return location.reload();
  const response = await fetch(element.dataset.screen, { headers: { Accept: "application/json" }, cache: "no-store" });
  const told = document.getElementById("screen-told");
  if (response.status === 401 || response.status === 403) return location.reload();
  const answer = await response.json();
  if (response.ok) set(element, answer.text.replace(/\s+$/, ""));
  if (told) told.textContent = response.ok ? `as of ${clock()}` : [answer.title, answer.detail].filter(Boolean).join(". ");
}

async function readTail(element) {
  const offset = element.dataset.offset;
  const address = offset === undefined ? element.dataset.tail : `${element.dataset.tail}?offset=${offset}`;
  const response = await fetch(address, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!response.ok) return;
  const { text, next_offset: next } = await response.json();
  if (next === undefined) return set(element, text);
  if (text) set(element, (element.textContent + text).slice(-LONGEST_LOG));
  element.dataset.offset = next;
}

/** Show a text; one who reads at its end stays there, one who has scrolled up is left alone. */
function set(element, text) {
  if (element.textContent === text) return;
  const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 24;
  element.textContent = text;
  if (atEnd) element.scrollTop = element.scrollHeight;
}

function startPrompt(form) {
  const box = form.querySelector("textarea");
  const told = document.getElementById("prompt-told");
  const say = (words, bad = false) => { told.textContent = words; told.classList.toggle("is-bad", bad); };
  /** Returns null, or the problem. */
  const send = async (address, fields) => {
    try {
      say((await post(address, fields)).message + ` at ${clock()}`);
      const screen = document.querySelector("[data-screen]");
      for (const wait of AFTER_KEYS_MS) setTimeout(() => screen.dispatchEvent(new Event("gaia:look")), wait);
      return null;
    } catch (problem) {
      say(`${problem.title}.`, true);
      tellProblem(problem);
      return problem;
    }
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    const text = box.value;
    box.value = "";
    const failed = await send(form.action, { text, enter: "1" });
    if (failed && !failed.type?.endsWith("#pane_not_submitted")) box.value = text; // not what stands in the pane already
    box.focus();
  });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  for (const button of document.querySelectorAll("[data-press]")) {
    button.addEventListener("click", () => send(button.dataset.src, { key: button.dataset.press }));
  }
}

const clock = () => new Date().toLocaleTimeString([], { hour12: false });
