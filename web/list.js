// The list of pictures: what waits, what runs, what was done.
import { picture } from "./api.js";
import { byId, element, setText } from "./elements.js";
import { isActive } from "./jobs.js";
import { STATES, clock, progressText, size } from "./words.js";

const THUMB = 96;               // px, twice the size on the page
const LARGEST_SOURCE = 4e6;     // px: a source above it is not fetched for the sake of a thumbnail

async function thumbnail(item) {
  const shrunk = async (blob) => {
    const whole = await createImageBitmap(blob);
    const scale = THUMB / Math.min(whole.width, whole.height);
    const small = { resizeWidth: Math.max(1, Math.round(whole.width * scale)), resizeHeight: Math.max(1, Math.round(whole.height * scale)), resizeQuality: "medium" };
    const bitmap = await createImageBitmap(whole, small);
    whole.close();
    return bitmap;
  };
  if (item.file) {
    try {
      return await shrunk(item.file);
    } catch {
      // A format that only the server can read.
    }
  }
  if (!item.job) return null;
  const { source, links } = item.job;
  for (const link of [links.preview, source && source.width * source.height <= LARGEST_SOURCE ? links.source : null]) {
    try {
      if (link) return await shrunk(await picture(link));
    } catch {
      // None yet.
    }
  }
  return null;
}

export class List {
  #rows = new Map();  // item -> its row
  #jobs;
  #chosen;
  #near;

  // chosen(item) is called when a row is clicked.
  constructor(jobs, chosen) {
    this.#jobs = jobs;
    this.#chosen = chosen;
    this.#near = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.#drawThumb(entry.target);
    }, { root: null, rootMargin: "200px" });
  }

  update() {
    const list = byId("list"), items = this.#jobs.items;
    for (const [item, row] of this.#rows) {
      if (items.includes(item)) continue;
      row.node.remove();
      this.#rows.delete(item);
    }
    items.forEach((item, index) => {
      let row = this.#rows.get(item);
      if (!row) this.#rows.set(item, row = this.#makeRow(item));
      if (list.children[index] !== row.node) list.insertBefore(row.node, list.children[index] ?? null);
      this.#fill(row, item);
    });
    byId("list-empty").hidden = items.length > 0;
    byId("save-all").hidden = items.filter((item) => item.state === "done").length < 2;
    byId("clear").hidden = !items.some((item) => !isActive(item));
  }

  reveal(item) { this.#rows.get(item)?.node.scrollIntoView({ block: "nearest" }); }

  #makeRow(item) {
    const thumb = element("canvas", { width: THUMB, height: THUMB, class: "thumb", "aria-hidden": "true" });
    const name = element("span", { class: "name" }), state = element("span", { class: "state" });
    const bar = element("progress", { max: 1, hidden: true });
    const open = element("button", { type: "button", class: "open", onclick: () => this.#chosen(item) }, thumb,
      element("span", { class: "lines" }, name, state, bar));
    const node = element("li", { "data-key": item.key }, open);
    const row = { node, open, thumb, name, state, bar, item };
    thumb.row = row;
    this.#near.observe(thumb);
    return row;
  }

  #fill(row, item) {
    const { job } = item;
    row.open.setAttribute("aria-current", String(item === this.#jobs.selected));
    if (row.node.dataset.state !== item.state) row.node.dataset.state = item.state;
    if (job) row.node.dataset.job = job.id;
    setText(row.name, item.name);
    row.name.title = item.name;
    let text = STATES[item.state] ?? item.state;
    if (item.state === "queued" && job.position !== undefined) text = job.position > 1 ? `Queued, ${job.position - 1} before it` : "Next";
    if (item.state === "running") text = progressText(job.progress) || text;
    if (item.state === "done" && job.result) text = `${size(job.result)} · ${clock(job.finished)}`;
    if ((item.state === "failed" || item.state === "refused") && item.error) text = `${text}: ${item.error.message}`;
    setText(row.state, text);
    row.state.title = text;
    const running = item.state === "running" || item.state === "uploading";
    row.bar.hidden = !running;
    row.bar.setAttribute("aria-label", `Progress of ${item.name}`);
    if (item.state === "running" && typeof job.progress?.fraction === "number") row.bar.value = job.progress.fraction;
    else row.bar.removeAttribute("value");
  }

  async #drawThumb(thumb) {
    const { item } = thumb.row;
    // Looked for once, and once more when the job has ended.
    const tried = isActive(item) ? "active" : item.state;
    if (thumb.dataset.drawn || thumb.dataset.tried === tried) return;
    thumb.dataset.tried = tried;
    const bitmap = await thumbnail(item);
    if (!bitmap) return;
    thumb.dataset.drawn = "yes";
    thumb.getContext("2d").drawImage(bitmap, (THUMB - bitmap.width) / 2, (THUMB - bitmap.height) / 2);
    bitmap.close();
  }

  // A job has ended: now there may be a picture of it.
  refresh(item) {
    const row = this.#rows.get(item);
    if (row) this.#drawThumb(row.thumb);
  }
}
