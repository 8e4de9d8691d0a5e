// The view's buttons and the keys that do the same.
import { byId, setText } from "./elements.js";

export function listenForKeys({ viewer, candidates, mask, toggleMask, restore, move }) {
  const pair = (on) => viewer.setPair(on);
  const wide = (on) => {
    document.body.classList.toggle("only-picture", on);
    byId("wide").setAttribute("aria-pressed", String(on));
  };
  const isWide = () => document.body.classList.contains("only-picture");
  const buttons = {
    "mode-slider": () => pair(false), "mode-pair": () => pair(true), "zoom-in": () => viewer.zoomStep(1), "zoom-out": () => viewer.zoomStep(-1),
    "zoom-fit": () => viewer.fit(), "zoom-full": () => viewer.full(), wide: () => wide(!isWide()),
    mask: toggleMask, "keys-button": () => byId("keys-dialog").showModal(),
  };
  for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", action);
  viewer.addEventListener("change", () => {
    setText(byId("zoom"), `${Math.round(100 * viewer.zoom)} %`);
    byId("mode-slider").setAttribute("aria-pressed", String(!viewer.isPair));
    byId("mode-pair").setAttribute("aria-pressed", String(viewer.isPair));
  });

  const step = (event) => (event.shiftKey ? 0.1 : 0.02);
  const keys = {
    ArrowLeft: (event) => viewer.moveSplit(-step(event)), ArrowRight: (event) => viewer.moveSplit(step(event)),
    ArrowUp: () => move(-1), ArrowDown: () => move(1),
    0: () => viewer.fit(), 1: () => viewer.full(), "+": () => viewer.zoomStep(1), "=": () => viewer.zoomStep(1), "-": () => viewer.zoomStep(-1),
    b: () => viewer.holdBefore(true), s: () => pair(false), d: () => pair(true), f: () => wide(!isWide()), m: toggleMask,
    "[": () => candidates.step(-1), "]": () => candidates.step(1), "?": () => byId("keys-dialog").showModal(),
    Escape: () => {
      if (mask.isOpen) return toggleMask();
      if (candidates.back()) return;
      if (isWide()) wide(false);
      else viewer.setSplit(0.5);
    },
  };
  const whilePainting = { "[": () => mask.resize(1 / 1.25), "]": () => mask.resize(1.25), x: () => mask.toggleErase() };
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      restore();
      return;
    }
    // Fields keep their keys; Escape leaves them. A slider has no use for others than these.
    const field = event.target.closest("input, select, textarea, pre");
    if (field && (field.type !== "range" || /^(Arrow|Home|End|Page)/.test(event.key))) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (mask.isOpen && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      mask.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const slider = event.target.id === "divider" ? { Home: () => viewer.setSplit(0), End: () => viewer.setSplit(1) } : {};
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = slider[event.key] ?? (mask.isOpen && whilePainting[name] || keys[name]);
    if (!action) return;
    event.preventDefault();
    action(event);
  });
  addEventListener("keyup", (event) => event.key.toLowerCase() === "b" && viewer.holdBefore(false));
  addEventListener("blur", () => viewer.holdBefore(false));
}
