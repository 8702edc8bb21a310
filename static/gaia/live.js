// Keeps a page true: one socket of events, parts of the page fetched anew when something they show has happened.
//
// A part is an element with data-part (its name), data-on (prefixes of event kinds and subjects, `*` for any),
// data-every (seconds between fetches for what has no events) and data-src (where it comes from, else this page).
// Its fresh HTML is merged into the page, so that focus, open menus and scroll positions stay.

import { merge } from "./merge.js";

const DEBOUNCE_MS = 90;
const SHARE = 3; // a fetch is followed by a rest of so many times its length: a busy log must not keep the server busy
const LONGEST_REST_MS = 1500;
const POLL_WHEN_LOST_S = 3;
const SHOW_LOST_AFTER_MS = 1500;
const WAITS_MS = [300, 700, 1500, 3000, 6000, 10000];

let position = null;
let socket = null;
let failures = 0;
let lostSince = null;
let timer = null;
let fetching = false;
let restUntil = 0;
const due = new Set();
const seen = new Map(); // what was last received, by address and parts
const asked = new Map(); // when a part was last asked for, by its name

const parts = () => [...document.querySelectorAll("[data-part]")];
const source = (part) => part.dataset.src || location.pathname + location.search;

/** Follow the log from where the page stands. */
export function start() {
  const mark = document.querySelector('meta[name="gaia-position"]');
  if (!mark || !parts().length) return;
  position = Number(mark.content);
  connect();
  setInterval(tick, 500);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) schedule(); });
  addEventListener("pagehide", () => { if (socket?.readyState === WebSocket.OPEN) socket.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) { markAll(); connect(); } });
}

/** Fetch these parts now, or all: something was done here. */
export function refresh(...names) {
  for (const part of parts()) if (!names.length || names.includes(part.dataset.part)) due.add(part.dataset.part);
  restUntil = 0;
  schedule(0);
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const mine = new WebSocket(`${scheme}://${location.host}/ws/events/?after=${position}`);
  socket = mine;
  mine.onmessage = (message) => { if (mine === socket) receive(JSON.parse(message.data)); };
  mine.onclose = (event) => { if (mine === socket) lost(event.code); };
}

function receive(message) {
  if (message.type === "hello" || message.type === "reset") {
    if (message.type === "reset" || lostSince !== null) markAll();
    if (message.type === "reset") position = message.after;
    failures = 0;
    lostSince = null;
    show();
  } else if (message.type === "events") {
    for (const event of message.events) {
      position = Math.max(position, event.id);
      for (const part of parts()) if (concerns(part, event)) due.add(part.dataset.part);
      document.dispatchEvent(new CustomEvent("gaia:event", { detail: event }));
    }
    schedule();
  }
}

function concerns(part, event) {
  const prefixes = (part.dataset.on || "").split(" ").filter(Boolean);
  return prefixes.some((prefix) => prefix === "*" || event.kind.startsWith(prefix) || event.subject.startsWith(prefix));
}

function lost(code) {
  socket = null;
  if (code === 4401 || code === 4403) return location.reload(); // signed out: the sign-in page says so
  lostSince ??= new Date();
  setTimeout(show, SHOW_LOST_AFTER_MS);
  const wait = WAITS_MS[Math.min(failures, WAITS_MS.length - 1)] * (0.75 + Math.random() / 2);
  failures += 1;
  setTimeout(connect, wait);
}

function show() {
  const sign = document.getElementById("live-sign");
  const bar = document.getElementById("lost-bar");
  const away = lostSince !== null && Date.now() - lostSince >= SHOW_LOST_AFTER_MS;
  if (sign) {
    sign.hidden = false;
    sign.dataset.state = away ? "lost" : "live";
    sign.querySelector("[data-live-word]").textContent = away ? "polling" : "live";
  }
  if (bar) {
    bar.hidden = !away;
    if (away) bar.textContent = `Live updates lost since ${lostSince.toLocaleTimeString([], { hour12: false })}, polling every ${POLL_WHEN_LOST_S} s.`;
  }
}

function markAll() {
  for (const part of parts()) due.add(part.dataset.part);
  schedule();
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  for (const part of parts()) {
    const every = Math.min(Number(part.dataset.every) || Infinity, lostSince ? POLL_WHEN_LOST_S : Infinity);
    if (!asked.has(part.dataset.part)) asked.set(part.dataset.part, now);
    if (now - asked.get(part.dataset.part) >= every * 1000) due.add(part.dataset.part);
  }
  if (due.size) schedule();
}

function schedule(wait = DEBOUNCE_MS) {
  if (timer || fetching || !due.size || document.hidden) return;
  timer = setTimeout(flush, Math.max(wait, restUntil - Date.now()));
}

async function flush() {
  timer = null;
  fetching = true;
  const wanted = new Map();
  for (const part of parts()) {
    if (!due.has(part.dataset.part)) continue;
    const names = wanted.get(source(part)) || [];
    wanted.set(source(part), [...names, part.dataset.part]);
  }
  due.clear();
  const begin = Date.now();
  for (const [address, names] of wanted) await update(address, names);
  restUntil = Date.now() + Math.min(LONGEST_REST_MS, SHARE * (Date.now() - begin));
  fetching = false;
  schedule();
}

async function update(address, names) {
  for (const name of names) asked.set(name, Date.now());
  const key = `${address} ${names}`;
  try {
    const response = await fetch(address, { headers: { "X-Gaia-Parts": names.join(" ") }, cache: "no-store" });
    if (response.redirected) return void (location.href = response.url); // signed out, or what it showed is gone
    if (!response.ok) return;
    const text = await response.text();
    if (seen.get(key) === text) return;
    seen.set(key, text);
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const name of names) {
      const [old, next] = [document.getElementById(`part-${name}`), fresh.getElementById(`part-${name}`)];
      if (old && next) merge(old, next);
    }
    document.dispatchEvent(new CustomEvent("gaia:merged", { detail: names }));
  } catch {
    // the server is away: the socket notices too, and the bar says so
  }
}
