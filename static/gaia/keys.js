// The keyboard: `/` searches, `g` and a letter goes, `j` and `k` walk through rows, `?` shows them all.

let going = 0;

export function start() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    if (press(event.key)) event.preventDefault();
  });
  addEventListener("click", (event) => { if (event.target.closest?.("[data-help-open]")) help(); });
}

function press(key) {
  if (Date.now() < going) {
    going = 0;
    const link = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
    if (link) location.href = link.href;
    return Boolean(link);
  }
  if (key === "g") return Boolean((going = Date.now() + 1200));
  if (key === "/") return focusSearch();
  if (key === "?") return help();
  if (key === "j" || key === "k") return walk(key === "j" ? 1 : -1);
  return false;
}

const typing = (element) => element.closest?.("input, textarea, select, [contenteditable]");

function focusSearch() {
  const box = document.getElementById("searchbar");
  if (box) { box.focus(); box.select(); } else document.querySelector("[data-palette-open]")?.click();
  return true;
}

function help() {
  document.getElementById("help").showModal();
  return true;
}

function walk(step) {
  const rows = [...document.querySelectorAll(".row-link")];
  if (!rows.length) return false;
  const now = rows.indexOf(document.activeElement);
  const next = now < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, now + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
  return true;
}
