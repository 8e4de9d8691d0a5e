// The pictures of the page: files that wait here, and the server's jobs. Sends, watches, cancels. Shows nothing.
//
// An item: {key, name, file | null, job | null, state, error, preview, options, mask | null}. state is the job's, or before there is one: ready, uploading,
// waiting (the server has no room, or is away), refused. Events: "list" (items came, went or changed), "preview" (detail: the item),
// "final" (detail: an item whose job has just ended), "away" (detail: seconds until the next try, 0 = back).
import { events, json, request, send, sendPicture } from "./api.js";

const LIMIT = 500;            // jobs that are listed
const BUSY = 1500, IDLE = 15000;  // ms between two looks at the list
const STREAMS = 3;  // a browser has six connections to one server
const FINAL = new Set(["done", "failed", "cancelled"]);

export const isActive = (item) => ["uploading", "waiting", "queued", "running"].includes(item.state);

let count = 0;

export class Jobs extends EventTarget {
  items = [];
  selected = null;
  #streams = new Map();  // job id -> AbortController
  #sending = false;
  #timer = 0;
  #wait = 0;             // seconds; grows while the server is away
  #looking = null;

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  // Files that were chosen, the first one on top. -> the items
  add(files) {
    const added = files.map((file) => ({ key: `file-${++count}`, name: file.name, file, job: null, state: "ready", error: null }));
    this.items.unshift(...[...added].reverse());
    this.#emit("list");
    return added;
  }

  // Sends ready items in order, with the same options.
  submit(items, options) {
    for (const item of items) Object.assign(item, { state: "uploading", error: null, options, turn: ++count });
    this.#emit("list");
    this.#sendNext();
  }

  // A new item from the picture of another one.
  async again(item, options) {
    let { file } = item;
    if (!file) {
      // The upload itself is not given back; its picture is, without what came along in the file.
      const response = await request(item.job.links.source);
      file = new File([await response.blob()], item.name);
    }
    const [copy] = this.add([new File([file], item.name, { type: file.type })]);
    copy.mask = item.mask?.copy() ?? null;
    this.submit([copy], options);
    return copy;
  }

  async cancel(item) {
    if (!item.job) {
      item.abort?.abort();
      item.state = "ready";
      this.#emit("list");
      return;
    }
    const answer = await request(item.job.links.self, { method: "DELETE" });
    if (answer.status !== 204) this.#take(await answer.json());
    this.look();
  }

  async remove(item) {
    if (item.job) {
      try {
        await request(item.job.links.self, { method: "DELETE" });
      } catch (error) {
        if (error.status !== 404) throw error;
      }
    }
    this.items = this.items.filter((other) => other !== item);
    this.#emit("list");
  }

  async pick(item, candidate) {
    this.#take(await send(`${item.job.links.self}/pick`, { candidate }));
    item.picked = (item.picked ?? 0) + 1;
    this.#emit("final", item);
  }

  select(item) {
    this.selected = item;
    this.#watch();
  }

  // --- sending ----------------------------------------------------------------------------------------------------------

  #sendNext() {
    if (this.#sending) return;  // one at a time, or they would come in another order
    const [next] = this.items.filter((item) => !item.job && item.state === "uploading").sort((a, b) => a.turn - b.turn);
    if (next) this.#send(next);
  }

  async #send(item) {
    this.#sending = true;
    item.abort = new AbortController();
    try {
      const mask = await item.mask?.blob();
      const job = await sendPicture({ file: item.file, name: item.name, mask, options: item.options }, item.abort.signal);
      this.items = this.items.filter((other) => other === item || other.job?.id !== job.id);  // a look at the list may have been faster
      item.job = { id: job.id };
      this.#take(job);
    } catch (error) {
      if (error.name === "AbortError") {
        item.state = "ready";
      } else if (error.status === 429 || error.status === 503 || error.status === 0) {
        item.state = "waiting";
        item.error = error;
        setTimeout(() => {
          if (item.state !== "waiting") return;
          item.state = "uploading";
          this.#sendNext();
        }, 1000 * (error.retryAfter || 3));
      } else {
        item.state = "refused";
        item.error = error;
        this.#emit("refused", item);
      }
    }
    item.abort = null;
    this.#sending = false;
    this.#emit("list");
    this.#sendNext();
    if (item.job) this.look();
  }

  // --- watching ---------------------------------------------------------------------------------------------------------

  // Takes in what the server says of a job. -> its item
  #take(job) {
    let item = this.items.find((other) => other.job?.id === job.id);
    if (!item) {
      item = { key: job.id, name: job.name, file: null, job: null, state: job.state, error: null };
      const place = this.items.findIndex((other) => other.job && other.job.created < job.created);
      this.items.splice(place < 0 ? this.items.length : place, 0, item);
    }
    const ended = FINAL.has(job.state) && isActive(item);
    // A stream may be ahead of a look at the list that was answered earlier.
    if (FINAL.has(item.state) && item.job && !FINAL.has(job.state)) return item;
    item.job = job;
    item.state = job.state;
    item.error = job.error ?? null;
    if (ended) this.#emit("final", item);
    return item;
  }

  start() {
    this.look();
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    addEventListener("online", () => this.look());
  }

  // Looks at the server's list now, and again after a while.
  look() {
    clearTimeout(this.#timer);
    this.#looking ??= this.#look().finally(() => { this.#looking = null; });
    return this.#looking;
  }

  async #look() {
    try {
      const { jobs } = await json(`/v1/jobs?limit=${LIMIT}`);
      const listed = new Set(jobs.map((job) => job.id));
      // Gone from a list that holds everything: removed by somebody.
      if (jobs.length < LIMIT) this.items = this.items.filter((item) => !item.seen || listed.has(item.job.id));
      for (const job of jobs) this.#take(job).seen = true;
      if (this.#wait) this.#emit("away", 0);
      this.#wait = 0;
      this.#emit("list");
      this.#watch();
    } catch (error) {
      if (error.status === 401) return;  // until a key is given
      this.#wait = Math.min(10, this.#wait ? this.#wait * 2 : 1);
      this.#emit("away", this.#wait);
    }
    const pause = this.#wait ? 1000 * this.#wait : this.items.some(isActive) ? BUSY : IDLE;
    this.#timer = setTimeout(() => this.look(), pause);
  }

  // Event streams for what runs and for what is looked at; the list is enough for the rest.
  #watch() {
    const wanted = this.items.filter((item) => item.job && (item.state === "running" || (item.state === "queued" && item === this.selected)));
    wanted.sort((a, b) => (b === this.selected) - (a === this.selected));
    const ids = new Set(wanted.slice(0, STREAMS).map((item) => item.job.id));
    for (const [id, stream] of this.#streams) if (!ids.has(id)) stream.abort();
    for (const id of ids) if (!this.#streams.has(id)) this.#stream(id);
  }

  async #stream(id) {
    const stream = new AbortController();
    this.#streams.set(id, stream);
    const item = this.items.find((other) => other.job?.id === id);
    try {
      await events(item.job.links.events, (name, data) => {
        if (name === "state" && data.state === "removed") return;  // the list says so too
        if (name === "state") this.#take(data);
        if (name === "progress") item.job.progress = data;
        if (name === "preview") {
          item.preview = data.url;
          this.#emit("preview", item);
        }
        this.#emit("list");
      }, stream.signal);
    } catch (error) {
      if (error.name === "AbortError") return void this.#streams.delete(id);
    }
    // Ended, broken off, or the server went away: the list says which, and opens it again where there is more to come.
    setTimeout(() => {
      this.#streams.delete(id);
      this.look();
    }, FINAL.has(item.state) ? 0 : 1000);
  }
}
