// Building the page's parts: text is always set as text, never as markup.
export const byId = (id) => document.getElementById(id);

// element("button", {class: "plain", onclick: f, "aria-label": "Close"}, "x"): on... are listeners, true/false switch attributes.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// Sets text only where it differs, so that screen readers and selections are left in peace.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let spokenBefore = "";
export function say(text) {
  if (text === spokenBefore) return;
  spokenBefore = text;
  byId("spoken").textContent = text;
}

// A message in the corner. An error stays until it is closed, a note goes by itself.
export function tell(text, { hint = "", error = false } = {}) {
  const box = byId("messages");
  for (const old of box.children) if (old.dataset.text === text) old.remove();
  const close = element("button", { type: "button", class: "plain square", "aria-label": "Close the message", onclick: () => note.remove() }, "×");
  const note = element("div", { class: error ? "message bad" : "message", role: error ? "alert" : "status", "data-text": text },
    element("div", {}, element("p", {}, text), hint && element("p", { class: "quiet" }, hint)), close);
  box.append(note);
  while (box.children.length > 3) box.firstChild.remove();
  if (!error) setTimeout(() => note.remove(), 6000);
}

export function tellError(error, about = "") {
  if (error.name === "AbortError") return;
  tell((about ? about + ": " : "") + error.message, { hint: error.hint ?? "", error: true });
}
