// Makes an element like a fresh one while keeping every node that can stay: focus, selection, open menus and scroll
// positions are not lost. Children are matched by id or data-key, else by their place and tag.

const KEPT = new Set(["open", "data-copied", "aria-busy"]);

/** Merge `next` into `old`. What has another data-glow than before, or is new with one, glows once. */
export function merge(old, next) {
  attributes(old, next);
  if (old.localName === "time" || old.hasAttribute("data-keep")) return;
  children(old, next);
}

function attributes(old, next) {
  if (old.dataset.glow !== next.dataset.glow && next.dataset.glow !== undefined) glow(old);
  const stays = old.classList.contains("glow");
  for (const { name } of [...old.attributes]) if (!KEPT.has(name) && !next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...next.attributes]) {
    if (!KEPT.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (stays) old.classList.add("glow");
}

function children(old, next) {
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let here = old.firstChild;
  for (const fresh of [...next.childNodes]) {
    const match = fresh.nodeType === 1 && keyOf(fresh) ? keyed.get(keyOf(fresh)) : alike(here, fresh) ? here : null;
    if (!match) {
      const added = document.importNode(fresh, true);
      old.insertBefore(added, here);
      if (added.nodeType === 1 && keyOf(added) && added.dataset.glow !== undefined) glow(added);
      continue;
    }
    if (match !== here) old.insertBefore(match, here);
    else here = here.nextSibling;
    if (match.nodeType === 1) merge(match, fresh);
    else if (match.data !== fresh.data) match.data = fresh.data;
  }
  while (here) {
    const gone = here;
    here = here.nextSibling;
    gone.remove();
  }
}

const keyOf = (element) => element.id || element.dataset.key || "";

function alike(old, next) {
  if (!old || old.nodeType !== next.nodeType) return false;
  return old.nodeType !== 1 || (old.localName === next.localName && !keyOf(old) && !keyOf(next));
}

function glow(element) {
  element.classList.remove("glow");
  void element.offsetWidth; // so that the animation begins anew
  element.classList.add("glow");
  element.addEventListener("animationend", () => element.classList.remove("glow"), { once: true });
}
