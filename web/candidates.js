// The candidates of a search: small pictures, scores, and another choice than the search's.
import { json, picture } from "./api.js";
import { byId, element } from "./elements.js";
import { score } from "./words.js";

const nameOf = (candidate) => `${candidate.tile}:${candidate.id}`;

export class Candidates {
  #box = byId("candidates");
  #item = null;
  #report = null;
  #tile = 0;
  #looked = null;   // the candidate that is looked at instead of the result
  #urls = [];
  #turn = 0;

  // look(candidate | null): show it, or the result again. pick(name): make it the result.
  constructor({ look, pick }) {
    this.look = look;
    this.pick = pick;
  }

  get looked() { return this.#looked; }

  async show(item) {
    const turn = ++this.#turn;
    if (item !== this.#item) this.#hide();
    this.#item = item;
    if (!item?.job?.searched || item.state !== "done") return this.#hide();
    let report;
    try {
      report = await json(item.job.links.candidates);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    if (turn !== this.#turn) return;
    if (!report?.candidates.length) return this.#hide();
    this.#report = report;
    this.#looked = null;
    this.#draw();
  }

  // step +1 or -1 through those of the tile that is shown. -> whether there are any
  step(by) {
    const shown = this.#shown();
    if (!shown.length) return false;
    const now = shown.findIndex((one) => one === this.#looked);
    this.#choose(shown[now < 0 ? (by > 0 ? 0 : shown.length - 1) : (now + by + shown.length) % shown.length]);
    return true;
  }

  // -> whether one was looked at
  back() {
    if (!this.#looked) return false;
    this.#choose(this.#looked);
    return true;
  }

  get report() { return this.#report; }

  #hide() {
    this.#box.hidden = true;
    this.#report = this.#looked = null;
    this.#tile = 0;
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls = [];
  }

  #shown() {
    const shown = (this.#report?.candidates ?? []).filter((one) => one.tile === this.#tile);
    return shown.sort((a, b) => b.winner - a.winner || b.finished - a.finished || (a.rank ?? 1e9) - (b.rank ?? 1e9));
  }

  // A second time puts the result back.
  #choose(candidate) {
    this.#looked = candidate === this.#looked ? null : candidate;
    this.#mark();
    this.look(this.#looked);
  }

  #mark() {
    for (const card of this.#box.querySelectorAll(".card")) {
      const on = this.#looked !== null && card.dataset.candidate === nameOf(this.#looked);
      card.setAttribute("aria-pressed", String(on));
      if (on) card.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    const use = byId("use-candidate");
    use.disabled = !this.#looked || this.#looked.winner || !this.#looked.finished;
    use.title = this.#looked && !this.#looked.finished ? "It was dropped before it was finished" : "";
  }

  // The one that is looked at, and what other tiles hold: the server puts the searched winner where a tile is not named.
  #choice() {
    const others = this.#report.candidates.filter((one) => one.winner && one.tile !== this.#looked.tile);
    return [...others, this.#looked].map(nameOf).join(",");
  }

  #draw() {
    const shown = this.#shown();
    const use = element("button", {
      type: "button", id: "use-candidate", class: "primary", disabled: true,
      onclick: async () => {
        use.disabled = true;
        use.textContent = "Taking it …";
        await this.pick(this.#choice());
        use.textContent = "Use this one";
      },
    }, "Use this one");
    const tiles = this.#report.tiles > 1 && element("label", { class: "row" }, "Tile",
      element("select", { onchange: (event) => { this.#tile = Number(event.target.value); this.#redraw(); } },
        Array.from({ length: this.#report.tiles }, (_, tile) => element("option", { value: tile, selected: tile === this.#tile }, `${tile + 1} of ${this.#report.tiles}`))));
    this.#box.replaceChildren(
      element("div", { class: "candidates-head" }, element("h2", {}, "Candidates"),
        element("span", { class: "quiet" }, `${shown.length}, higher scores are better`), element("span", { class: "fill" }), tiles || "", use),
      element("ul", { class: "cards" }, shown.map((candidate) => element("li", {}, this.#card(candidate)))));
    this.#box.hidden = false;
  }

  #redraw() {
    if (this.#looked) this.#choose(this.#looked);
    this.#draw();
  }

  #card(candidate) {
    const image = element("img", { alt: "", width: 64, height: 64, loading: "lazy" });
    if (candidate.thumbnail) this.#fetch(image, candidate.thumbnail);
    const mark = candidate.winner ? "In the result" : candidate.finished ? "" : "Dropped";
    return element("button", {
      type: "button", class: candidate.finished ? "card" : "card dropped", "data-candidate": nameOf(candidate), "aria-pressed": "false",
      onclick: () => this.#choose(candidate),
    }, image, element("span", { class: "card-text" },
      element("span", { class: "card-head" }, element("b", {}, `No. ${candidate.id}`), mark && element("em", {}, mark)),
      Object.entries(candidate.scores ?? {}).map(([reward, value]) =>
        element("span", { class: "score" }, element("span", { class: "quiet", title: reward }, reward), element("span", {}, score(value))))));
  }

  async #fetch(image, path) {
    try {
      const url = URL.createObjectURL(await picture(path));
      this.#urls.push(url);
      image.src = url;
    } catch {
      image.alt = "none";  // a dropped candidate may have left no picture
    }
  }
}
