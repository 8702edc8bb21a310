// Relative times, kept up to date; the words are those of the template tag `ago`.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** `12 s ago` for a number of seconds. */
export function relative(seconds) {
  if (Math.abs(seconds) < 2) return "now";
  const [size, unit] = UNITS.find(([each]) => Math.abs(seconds) >= each);
  const span = `${Math.floor(Math.abs(seconds) / size)} ${unit}`;
  return seconds < 0 ? `in ${span}` : `${span} ago`;
}

export function start() {
  const serverAhead = clockDifference();
  const update = () => {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = relative((Date.now() + serverAhead - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  };
  update();
  setInterval(update, 1000);
  document.addEventListener("gaia:merged", update);
  document.addEventListener("visibilitychange", update);
}

// a phone's clock may be minutes off: times count from the server's
function clockDifference() {
  const mark = document.querySelector("[data-server-time]");
  const difference = mark ? Date.parse(mark.dataset.serverTime) - Date.now() : 0;
  return Math.abs(difference) > 5000 ? difference : 0;
}
