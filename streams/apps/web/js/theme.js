// Light, dark, or as the system says.

const THEMES = ["auto", "light", "dark"];
const listeners = new Set();

export function onTheme(listener) {
  listeners.add(listener);
}

export function startTheme(button) {
  apply(button, localStorage.getItem("theme") || "auto");
  button.addEventListener("click", () => {
    const at = THEMES.indexOf(document.documentElement.dataset.theme);
    apply(button, THEMES[(at + 1) % THEMES.length]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
}

function apply(button, theme) {
  document.documentElement.dataset.theme = THEMES.includes(theme) ? theme : "auto";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
  button.textContent = `Theme: ${document.documentElement.dataset.theme}`;
  tell();
}

function tell() {
  for (const listener of listeners) listener();
}

export function colour(name) {
  // Canvas needs a plain colour: the browser resolves light-dark() on a real element only.
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
