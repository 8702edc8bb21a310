// The palette on Ctrl-K: pages and verbs at once, sessions and environments from the server as one types.

const DELAY_MS = 110;
let commands = [];
let chosen = 0;
let timer = null;
let question = 0;

export function start() {
  const dialog = document.getElementById("palette");
  if (!dialog) return;
  commands = JSON.parse(document.getElementById("gaia-commands")?.textContent || "[]");
  const [input, list] = [document.getElementById("palette-input"), document.getElementById("palette-list")];
  const open = () => {
    if (dialog.open) return;
    input.value = "";
    dialog.showModal();
    look(input, list);
  };
  addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    open();
  });
  addEventListener("click", (event) => { if (event.target.closest?.("[data-palette-open]")) open(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  input.addEventListener("input", () => look(input, list));
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") choose(list, chosen + 1);
    else if (event.key === "ArrowUp") choose(list, chosen - 1);
    else if (event.key === "Enter") list.children[chosen]?.click();
    else return;
    event.preventDefault();
  });
}

function look(input, list) {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const near = commands.filter(({ title }) => words.every((word) => title.toLowerCase().includes(word)));
  draw(list, near);
  clearTimeout(timer);
  const mine = ++question;
  if (!words.length) return;
  timer = setTimeout(async () => {
    const response = await fetch(`${input.dataset.src}?q=${encodeURIComponent(input.value)}`).catch(() => null);
    if (!response?.ok || mine !== question) return;
    draw(list, [...(await response.json()).results, ...near]);
  }, DELAY_MS);
}

function draw(list, results) {
  list.replaceChildren(...(results.length ? results.map(row) : [nothing()]));
  choose(list, 0);
}

function row({ title, hint, icon, url }, index) {
  const item = document.createElement("li");
  item.id = `palette-${index}`;
  item.setAttribute("role", "option");
  const sign = document.createElement("span");
  sign.className = "material-symbols-outlined";
  sign.setAttribute("aria-hidden", "true");
  sign.textContent = icon;
  const [name, more] = [document.createElement("span"), document.createElement("span")];
  name.textContent = title;
  more.className = "hint";
  more.textContent = hint || "";
  item.append(sign, name, more);
  item.addEventListener("click", () => { location.href = url; });
  item.addEventListener("mousemove", () => choose(item.parentElement, index));
  return item;
}

function nothing() {
  const item = document.createElement("li");
  item.className = "nothing";
  item.setAttribute("role", "option");
  item.setAttribute("aria-disabled", "true");
  item.textContent = "Nothing is called that.";
  return item;
}

function choose(list, index) {
  chosen = Math.max(0, Math.min(list.children.length - 1, index));
  [...list.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === chosen)));
  const item = list.children[chosen];
  item?.scrollIntoView({ block: "nearest" });
  document.getElementById("palette-input").setAttribute("aria-activedescendant", item?.id || "");
}
