// Sets the theme before anything is drawn. The choice is kept under the name unfold uses.
(() => {
  const NAME = "adminTheme";
  const system = matchMedia("(prefers-color-scheme: dark)");

  const chosen = () => {
    try { return JSON.parse(localStorage.getItem(NAME)) || "auto"; } catch { return "auto"; }
  };

  const apply = () => {
    const theme = chosen();
    const dark = theme === "dark" || (theme === "auto" && system.matches);
    document.documentElement.classList.toggle("dark", dark);
    document.documentElement.classList.toggle("light", !dark);
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
    }
  };

  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("DOMContentLoaded", apply);
  addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-theme-choice]");
    if (!button) return;
    localStorage.setItem(NAME, JSON.stringify(button.dataset.themeChoice));
    apply();
  });
  if (localStorage.getItem("gaia-side") === "shut") document.documentElement.classList.add("side-shut");
})();
