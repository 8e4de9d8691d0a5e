// Light or dark: the system's choice until the switch is used. A classic script in the head, so that the first paint is right.
(() => {
  const kept = "resflow-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => localStorage.getItem(kept) ?? (system.matches ? "dark" : "light");
  const apply = () => {
    const theme = current();
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (!button) return;
    button.title = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", theme === "dark" ? "Switch to light" : "Switch to dark");
  };
  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      const wanted = current() === "dark" ? "light" : "dark";
      // A choice that is the system's own is no choice: the page follows the system again.
      if (wanted === (system.matches ? "dark" : "light")) localStorage.removeItem(kept);
      else localStorage.setItem(kept, wanted);
      apply();
      document.dispatchEvent(new Event("themechange"));
    });
  });
})();
