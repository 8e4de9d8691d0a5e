// Under the picture: what the selected one is, how far it is, what can be done with it.
import { byId, element, setText } from "./elements.js";
import { isActive } from "./jobs.js";
import { STATES, bytes, progressText, seconds, size } from "./words.js";

const took = (job) => (Date.parse(job.finished) - Date.parse(job.started)) / 1000;

export class Facts {
  #box = byId("facts");
  #item = null;
  #state = "";
  #parts = {};

  // actions: {cancel, save, reuse, remove}, each called with the item.
  constructor(actions) { this.actions = actions; }

  show(item) {
    this.#box.hidden = !item;
    if (!item) {
      this.#item = null;
      return;
    }
    // Built anew only when the buttons change: progress must not take the focus away.
    const state = `${item.state} ${item.picked ?? 0} ${item.job?.id}`;
    if (item !== this.#item || state !== this.#state) this.#build(item);
    this.#item = item;
    this.#state = state;
    this.#fill(item);
  }

  #build(item) {
    const { job } = item;
    const button = (text, action, kind = "plain") => element("button", { type: "button", class: kind, onclick: () => action(item) }, text);
    const bar = element("progress", { max: 1, "aria-label": `Progress of ${item.name}` });
    const about = element("span", { class: "quiet about" });
    this.#parts = { bar, about };
    const done = item.state === "done";
    const buttons = [
      done && button("Download", this.actions.save, "primary"),
      isActive(item) && button("Cancel", this.actions.cancel),
      !isActive(item) && job && button("Use these options", this.actions.reuse),
      !isActive(item) && button("Remove", this.actions.remove),
    ];
    const trouble = item.error && ["failed", "refused", "waiting"].includes(item.state);
    const details = done && job.manifest && element("details", { class: "details" }, element("summary", {}, "How it was made"),
      element("pre", { tabindex: "0" }, JSON.stringify(job.manifest, null, 2)));
    this.#box.replaceChildren(...[
      element("div", { class: "facts-head" }, element("div", { class: "facts-text" }, element("strong", { class: "name", title: item.name }, item.name), about),
        element("div", { class: "row" }, buttons.filter(Boolean))),
      isActive(item) && bar,
      trouble && element("div", { class: "trouble", role: "alert" }, element("p", {}, item.error.message),
        item.error.hint && element("p", { class: "quiet" }, item.error.hint)),
      details,
    ].filter(Boolean));
  }

  #fill(item) {
    const { job } = item;
    const parts = [];
    if (item.state !== "done") parts.push(STATES[item.state] ?? item.state);
    if (item.state === "queued" && job.position > 1) parts.push(`${job.position - 1} before it`);
    if (item.state === "running") parts.splice(0, 1, progressText(job.progress) || "Working");
    if (job?.source) parts.push(job.result ? `${size(job.source)} → ${size(job.result)}` : size(job.source));
    if (item.state === "done" && job.result) {
      parts.push(`${job.result.format.toUpperCase()}, ${bytes(job.result.bytes)}`);
      const faithful = job.manifest?.faithfulness?.score;
      if (typeof faithful === "number") parts.push(`faithfulness ${Math.round(faithful)}`);
      if (job.started && job.finished && took(job) >= 0) parts.push(seconds(took(job)));
    }
    if (!job && item.file) parts.push(bytes(item.file.size));
    if (job?.manifest?.mask ?? (item.mask && !item.mask.empty)) parts.push("with a mask");
    setText(this.#parts.about, parts.join(" · "));
    if (item.state === "running" && typeof job.progress?.fraction === "number") this.#parts.bar.value = job.progress.fraction;
    else this.#parts.bar.removeAttribute("value");
  }
}
