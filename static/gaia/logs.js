// A log that follows: `<section data-log="ADDRESS">`. Read by offset once a second while one looks, with search, levels
// and a pause. ADDRESS answers `?lines=N` and `?offset=N` with {text, next_offset, unfinished}: whole lines, and what
// there is of one whose end has not come yet.

const EVERY_MS = 1000;
const FIRST_LINES = 400;
const KEPT_LINES = 5000;
const PIECES = 8; // read in one go of a log that floods; after that its end is shown
const FULL_PIECE = 32_768; // bytes; one that is shorter was the end
const NEAR_END = 24; // pixels

const ESCAPES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))/g;
const NAMED = /\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|FATAL|CRITICAL|PANIC)\b|\blevel"?\s*[=:]\s*"?(\w+)/;
const BAD = /^(?:\s*File ".*", line \d|Traceback \(most recent|panic: |goroutine \d+|\w*(?:Error|Exception)\b)|\b(?:error|fatal|failed)\b\s*[:!]/i;
const LEVELS = { err: "error", error: "error", fatal: "error", critical: "error", panic: "error", warn: "warning", warning: "warning", debug: "debug", trace: "debug" };
const SHOWS = { all: ["", "debug", "warning", "error"], warning: ["warning", "error"], error: ["error"] };

export function start() {
  for (const section of document.querySelectorAll("[data-log]")) new Log(section);
}

/** error, warning, debug, or "" for a line that claims none. One that is indented belongs to the line before it. */
export function levelOf(line, before = "") {
  const named = NAMED.exec(line.slice(0, 400));
  if (named) return LEVELS[(named[1] || named[2]).toLowerCase()] || "";
  if (BAD.test(line)) return "error";
  return /^\s+\S/.test(line) ? before : "";
}

class Log {
  constructor(section) {
    this.section = section;
    this.place = section.querySelector(".log");
    this.told = section.querySelector("[data-log-told]");
    this.search = section.querySelector("input");
    this.pauser = section.querySelector("[data-log-pause]");
    this.lines = []; // {text, level}
    this.open = ""; // the line whose end has not come yet
    this.level = "all";
    this.offset = null;
    this.reading = false;
    this.listen();
    setInterval(() => this.look(), EVERY_MS);
    document.addEventListener("visibilitychange", () => this.look());
    this.look();
  }

  listen() {
    this.search.addEventListener("input", () => this.redraw());
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.search.value) return;
      event.stopPropagation();
      this.search.value = "";
      this.redraw();
    });
    this.pauser.addEventListener("click", () => this.pause(!this.paused));
    for (const button of this.section.querySelectorAll("[data-level]")) {
      button.addEventListener("click", () => this.choose(button.dataset.level));
    }
  }

  get paused() {
    return this.pauser.getAttribute("aria-pressed") === "true";
  }

  pause(paused) {
    this.pauser.setAttribute("aria-pressed", String(paused));
    this.pauser.textContent = paused ? "Go on" : "Pause";
    this.tell();
    if (!paused) this.look(true);
  }

  choose(level) {
    this.level = level;
    for (const button of this.section.querySelectorAll("[data-level]")) {
      button.setAttribute("aria-pressed", String(button.dataset.level === level));
    }
    this.redraw();
  }

  async look(toEnd = false) {
    if (this.gone || this.reading || this.paused || document.hidden || !this.place.isConnected) return;
    this.reading = true;
    try {
      await this.readOn();
    } catch {
      // the server is away: the next look comes
    }
    this.reading = false;
    if (toEnd) this.place.scrollTop = this.place.scrollHeight;
  }

  async readOn() {
    for (let piece = 0; piece < PIECES; piece += 1) {
      const before = this.offset;
      const read = await this.fetch(before === null ? `lines=${FIRST_LINES}` : `offset=${before}`);
      this.offset = read.next_offset;
      if (before !== null && this.offset < before) this.clear(); // it was begun anew
      this.append(read.text, read.unfinished);
      this.place.dataset.read = String(this.offset);
      if (before === null || this.offset - before < FULL_PIECE) return;
    }
    this.offset = null; // it writes faster than one reads: go on at its end
    this.append("… more was written than can be shown; the log's file has it all …\n", "");
  }

  async fetch(query) {
    const response = await fetch(`${this.section.dataset.log}?${query}`, { headers: { Accept: "application/json" }, cache: "no-store" });
    if (response.status === 404) this.gone = true;
    if (!response.ok) throw new Error(String(response.status));
    return response.json();
  }

  clear() {
    this.lines = [];
    this.open = "";
    this.place.replaceChildren();
  }

  append(text, unfinished) {
    const fresh = [];
    for (const part of text ? text.replace(/\n$/, "").replace(ESCAPES, "").split("\n") : []) {
      const line = { text: lastState(part), level: levelOf(part, this.lines.at(-1)?.level) };
      this.lines.push(line);
      fresh.push(line);
    }
    if (this.lines.length > KEPT_LINES) this.lines.splice(0, this.lines.length - KEPT_LINES);
    const open = lastState(unfinished.replace(ESCAPES, ""));
    if (!fresh.length && open === this.open) return this.tell();
    this.open = open;
    this.draw(fresh);
  }

  /** Add lines to what is shown; one who reads at the end stays there, one who has scrolled up is left alone. */
  draw(fresh) {
    const atEnd = this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < NEAR_END;
    this.place.querySelector(".log-open")?.remove();
    this.place.append(...fresh.filter((line) => this.shows(line)).map((line) => this.element(line)));
    const open = { text: this.open, level: levelOf(this.open, this.lines.at(-1)?.level) };
    if (this.open && this.shows(open)) {
      this.place.append(this.element(open));
      this.place.lastElementChild.classList.add("log-open");
    }
    while (this.place.childElementCount > KEPT_LINES) this.place.firstElementChild.remove();
    if (atEnd) this.place.scrollTop = this.place.scrollHeight;
    this.tell();
  }

  redraw() {
    this.place.replaceChildren();
    this.draw(this.lines);
    this.place.scrollTop = this.place.scrollHeight;
  }

  shows({ text, level }) {
    const words = this.search.value.trim().toLowerCase();
    return SHOWS[this.level].includes(level) && (!words || text.toLowerCase().includes(words));
  }

  element({ text, level }) {
    const line = document.createElement("div");
    line.className = level ? `log-line is-${level}` : "log-line";
    const words = this.search.value.trim();
    if (words) mark(line, text, words.toLowerCase());
    else line.textContent = text || "\u200b";
    return line;
  }

  tell() {
    const shown = this.place.childElementCount;
    const all = this.lines.length + (this.open ? 1 : 0);
    const narrowed = this.level !== "all" || this.search.value.trim();
    const words = narrowed ? `${shown} of ${all} lines` : "";
    this.told.textContent = [words, this.paused ? "paused" : "follows"].filter(Boolean).join(" · ");
    this.place.dataset.empty = all && narrowed ? "No line fits." : "Nothing was written yet.";
  }
}

/** A line as a terminal would leave it: what a progress bar wrote over is gone. */
const lastState = (line) => line.slice(line.lastIndexOf("\r", line.length - 2) + 1).replace(/\r$/, "");

function mark(element, text, words) {
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(words); at >= 0; at = lower.indexOf(words, from)) {
    const found = document.createElement("mark");
    found.textContent = text.slice(at, at + words.length);
    element.append(text.slice(from, at), found);
    from = at + words.length;
  }
  element.append(text.slice(from));
}
