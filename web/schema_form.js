// The options as a form, drawn from GET /v1/schema: the page knows no option but which few are shown first. Fields left alone are not sent,
// so the server's defaults hold.
import { element, setText } from "./elements.js";

// Shown first, in this order, with a label that reads well; everything else is under "More".
const FIRST = {
  restore: { scale: "Scale", strength: "Strength", sigma_s: "Start noise", steps: "Steps", seed: "Seed" },
  search: { search: "Strategy", candidates: "Candidates", budget: "Budget" },
  files: { format: "Format" },
};
const PRESETS = { scale: [0, 1, 2, 4, 8], candidates: [4, 8, 16] };
const SLIDER_WIDEST = 4;  // a number with a wider range is typed

const labelOf = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
const sayNumber = (name, value) => (value === 0 ? "auto" : name === "scale" ? `${value}×` : String(value));

// One option. value(): undefined where it is the default. set(value). node: its row.
class Field {
  constructor(group, spec, changed) {
    Object.assign(this, { group, spec, changed });
    this.id = `option-${group}-${spec.name}`;
    const many = spec.type === "list" && spec.choices?.length;
    this.input = this.#makeInput();
    this.error = element("p", { class: "error", id: `${this.id}-error` });
    const label = FIRST[group]?.[spec.name] ?? labelOf(spec.name);
    const help = element("p", { class: "help", id: `${this.id}-help` }, spec.help ?? "");
    const head = spec.type === "boolean"
      ? element("label", { class: "check", for: this.id }, this.input, element("span", {}, label))
      : element(many ? "span" : "label", many ? { id: `${this.id}-label` } : { for: this.id }, label);
    this.node = element("div", { class: "field", "data-option": spec.name },
      element("div", { class: "field-head" }, head, element("code", { title: "The option's name on the command line and in the API" }, spec.name)),
      spec.type !== "boolean" && this.#makeControl(many), help, this.error);
  }

  // What an empty field says. A number whose 0 means that somebody else decides is described: "0 = no limit" of its help, or "auto".
  get #emptyText() {
    const meaning = /\b0 = ([^;,.]+)/.exec(this.spec.help ?? "")?.[1].replace(/^the /, "");
    if (this.spec.default !== 0 || meaning === undefined) return String(this.spec.default);
    return meaning.length <= 20 && !/\d/.test(meaning) && !this.#hasSlider ? meaning : "auto";
  }
  get #hasSlider() { return this.spec.type === "number" && this.spec.maximum - this.spec.minimum <= SLIDER_WIDEST; }
  get #isNumber() { return this.spec.type === "number" || this.spec.type === "integer"; }

  #makeInput() {
    const { type, choices, minimum, maximum } = this.spec;
    const shared = {
      id: this.id, "aria-describedby": `${this.id}-help ${this.id}-error`,
      oninput: () => this.#input(), onchange: () => this.#input(),
    };
    if (type === "boolean") {
      const box = element("input", { ...shared, type: "checkbox" });
      box.checked = this.spec.default;
      return box;
    }
    if (type === "list" && choices?.length) {
      return element("div", { class: "choices", role: "group", "aria-labelledby": `${this.id}-label`, "aria-describedby": `${this.id}-help` },
        choices.map((choice) => {
          const box = element("input", { type: "checkbox", value: choice, onchange: () => this.#input() });
          box.checked = this.spec.default.includes(choice);
          return element("label", { class: "check" }, box, element("span", {}, choice));
        }));
    }
    if (choices?.length) {
      const select = element("select", shared, choices.map((choice) => element("option", { value: choice }, choice)));
      select.value = this.spec.default;
      return select;
    }
    if (this.#isNumber) {
      return element("input", {
        ...shared, type: "number", inputmode: type === "integer" ? "numeric" : "decimal", step: type === "integer" ? 1 : "any",
        min: minimum, max: maximum, placeholder: this.#emptyText,
      });
    }
    const shown = type === "list" ? this.spec.default.join(", ") : this.spec.default;
    return element("input", { ...shared, type: "text", autocomplete: "off", placeholder: shown || (type === "list" ? "one, two, ..." : "") });
  }

  #makeControl(many) {
    const { name, minimum, maximum } = this.spec;
    if (!this.#isNumber || many) return this.input;
    const row = element("div", { class: "row" });
    if (this.#hasSlider) {
      this.slider = element("input", {
        type: "range", min: minimum, max: maximum, step: 0.01, value: this.spec.default, "aria-label": `${name}, slider`,
        oninput: () => {
          this.input.value = this.slider.value;
          this.#input(true);
        },
      });
      row.append(this.slider);
    }
    row.append(this.input);
    const presets = (PRESETS[name] ?? []).filter((value) => value >= minimum && value <= maximum);
    if (presets.length) {
      this.presets = presets.map((value) => element("button", {
        type: "button", class: "preset", "aria-pressed": "false", "data-value": value,
        onclick: () => {
          this.set(value);
          this.#input();
        },
      }, sayNumber(name, value)));
      row.append(element("div", { class: "segment", role: "group", "aria-label": `${name}, usual values` }, this.presets));
    }
    if (name === "seed") {
      row.append(element("button", {
        type: "button", class: "plain", title: "Another seed",
        onclick: () => {
          this.set(Math.floor(Math.random() * 1e9));
          this.#input();
        },
      }, "Random"));
    }
    return row;
  }

  #input(fromSlider = false) {
    if (this.slider && !fromSlider) this.slider.value = this.value() ?? this.spec.default;
    this.#showPreset();
    this.complain("");
    if (this.input.validity && !this.input.validity.valid) this.complain(this.#wanted());
    this.changed();
  }

  #showPreset() {
    const value = this.value() ?? this.spec.default;
    for (const preset of this.presets ?? []) preset.setAttribute("aria-pressed", String(Number(preset.dataset.value) === value));
  }

  #wanted() {
    const { minimum, maximum, type } = this.spec;
    return `Wanted ${type === "integer" ? "a whole number" : "a number"} from ${minimum} to ${maximum}`;
  }

  valid() { return !this.input.validity || this.input.validity.valid; }

  value() {
    const { type, choices } = this.spec;
    const fallback = this.spec.default;
    let value;
    if (type === "boolean") value = this.input.checked;
    else if (type === "list" && choices?.length) {
      const checked = [...this.input.querySelectorAll("input:checked")].map((box) => box.value);
      // In the default's order, which need not be that of the choices.
      value = [...fallback.filter((name) => checked.includes(name)), ...checked.filter((name) => !fallback.includes(name))];
    }
    else if (this.input.value.trim() === "") return undefined;
    else if (this.#isNumber) value = Number(this.input.value);
    else if (type === "list") value = this.input.value.split(",").map((part) => part.trim()).filter(Boolean).map((part) => (isNaN(part) ? part : Number(part)));
    else value = this.input.value;
    return JSON.stringify(value) === JSON.stringify(fallback) ? undefined : value;
  }

  // undefined: back to the default.
  set(value) {
    const { type, choices } = this.spec;
    const wanted = value ?? this.spec.default;
    if (type === "boolean") this.input.checked = wanted;
    else if (type === "list" && choices?.length) for (const box of this.input.querySelectorAll("input")) box.checked = wanted.includes(box.value);
    else if (choices?.length) this.input.value = wanted;
    else this.input.value = JSON.stringify(wanted) === JSON.stringify(this.spec.default) ? "" : type === "list" ? wanted.join(", ") : wanted;
    if (this.slider) this.slider.value = wanted;
    this.#showPreset();
    this.complain("");
  }

  complain(text) {
    setText(this.error, text);
    if (text) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

export class SchemaForm {
  // changed is called after each input.
  constructor(form, schema, changed) {
    this.fields = [];
    this.folds = [];
    const parts = schema.groups.map((group) => {
      const make = (spec) => {
        const field = new Field(group.name, spec, changed);
        this.fields.push(field);
        return field;
      };
      const first = Object.keys(FIRST[group.name] ?? {}).map((name) => group.fields.find((spec) => spec.name === name)).filter(Boolean).map(make);
      const more = group.fields.filter((spec) => !first.some((field) => field.spec === spec)).map(make);
      const fold = more.length > 0 && element("details", { class: "more" },
        element("summary", {}, `More: ${group.title.toLowerCase()} `, element("span", { class: "quiet" }, String(more.length))),
        more.map((field) => field.node));
      const body = element("div", { class: "group-body" }, first.map((field) => field.node), fold);
      const title = group.name === "search" ? this.#searchSwitch(group, first, body, changed) : element("h3", {}, group.title);
      return element("section", { class: "group", "data-group": group.name }, title, body);
    });
    form.replaceChildren(...parts);
    for (const field of this.fields) field.set(undefined);
  }

  // The search is off or on; which one it is stands below when it is on.
  #searchSwitch(group, first, body, changed) {
    const strategy = first.find((field) => field.spec.name === "search");
    if (!strategy) return element("h3", {}, group.title);
    const off = strategy.spec.default;
    const strategies = strategy.spec.choices.filter((name) => name !== off);
    let last = strategies.includes("resflow") ? "resflow" : strategies[0];
    for (const option of strategy.input.options) option.hidden = option.value === off;
    const box = element("input", {
      type: "checkbox", id: "search-on", role: "switch",
      onchange: () => {
        strategy.input.value = box.checked ? last : off;
        show();
        changed();
      },
    });
    const show = () => {
      const on = strategy.input.value !== off;
      if (on) last = strategy.input.value;
      box.checked = on;
      body.hidden = !on;
    };
    const set = strategy.set.bind(strategy);
    strategy.set = (value) => {
      set(value);
      show();
    };
    strategy.input.addEventListener("change", show);
    return element("h3", {}, element("label", { class: "switch", for: "search-on" }, element("span", {}, group.title), box),
      element("span", { class: "help" }, "Several candidates, judged on the way; the best one is kept. Takes longer."));
  }

  // {restore: {...}, search: {...}, files: {...}} of what differs from the defaults; empty groups are left out. Of a search that is off only
  // what is on the page is kept, for later: the server is told nothing of it.
  value({ all = false } = {}) {
    const options = {};
    const searching = this.fields.some((field) => field.spec.name === "search" && field.value() !== undefined);
    for (const field of this.fields) {
      const value = field.value();
      if (value === undefined || (field.group === "search" && !searching && !all)) continue;
      (options[field.group] ??= {})[field.spec.name] = value;
    }
    return options;
  }

  set(options) {
    for (const field of this.fields) field.set(options?.[field.group]?.[field.spec.name]);
  }

  // The first field that the browser itself sees to be wrong gets the focus. -> whether all are good
  check() {
    const searching = this.fields.some((field) => field.spec.name === "search" && field.value() !== undefined);
    const wrong = this.fields.find((field) => !field.valid() && (field.group !== "search" || searching));
    if (wrong) this.#reveal(wrong);
    return !wrong;
  }

  // Puts what the server said beside the option that it names. -> whether it names one
  complain(message) {
    const words = message.match(/[a-z][a-z_0-9]*/g) ?? [];
    const field = words.map((word) => this.fields.find((one) => one.spec.name === word && one.spec.name !== "search")).find(Boolean);
    if (!field) return false;
    field.complain(message);
    this.#reveal(field);
    return true;
  }

  #reveal(field) {
    const fold = field.node.closest("details");
    if (fold) fold.open = true;
    field.input.focus?.();
    field.node.scrollIntoView({ block: "nearest" });
  }
}
