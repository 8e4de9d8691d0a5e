// Before and after on one canvas: under a slider or side by side, with one zoom and one place for both.
//
// Zoom is in device pixels per pixel of the result: at 1 ("100 %") each pixel of the picture is one of the screen. The place looked at is a
// fraction of the picture, so that it stays when a preview gives way to a result of another size.
import { byId, setText } from "./elements.js";
import { Layer } from "./layer.js";

const MOST = 32;        // device pixels per picture pixel
const STEPS = [1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, MOST];
const GRIP = 22;        // CSS pixels to either side of the divider that take hold of it

export class Viewer extends EventTarget {
  #canvas = byId("canvas");
  #view = byId("view");
  #divider = byId("divider");
  #context = this.#canvas.getContext("2d");
  #before = null;
  #after = null;
  #soft = false;         // the after is a small preview
  #width = 0;            // of the picture that zoom speaks of
  #height = 0;
  #zoom = 1;
  #center = { x: 0.5, y: 0.5 };
  #fitting = true;
  #split = 0.5;          // of the visible part of the picture
  #pair = false;
  #onlyBefore = false;
  #painter = null;       // who paints over the picture, while somebody does
  #pointers = new Map();
  #holding = "";         // what a drag moves: "split" or "place"
  #asked = 0;
  #turn = 0;
  #names = ["Before", "After"];
  #checker = null;

  constructor() {
    super();
    new ResizeObserver(() => this.#resized()).observe(this.#view);
    document.addEventListener("themechange", () => this.redraw());
    this.#listen();
    this.#resized();
  }

  get zoom() { return this.#zoom; }
  get split() { return this.#split; }
  get isPair() { return this.#pair; }
  // Of the picture before, where there is one that can be shown.
  get sourceSize() { return this.#before && { width: this.#before.width, height: this.#before.height }; }
  get canCompare() { return Boolean(this.#before && this.#after); }

  // Shows Blobs (or null). keep: it is the same picture as before, so zoom and place stay. soft: `after` is a preview. names: what the two are
  // called. size: {width, height} of the result where it is known; `after` may be padded beyond it. -> which of the two the browser could not decode, [] if none; null where
  // another call has come in between.
  async show({ before, after, keep = false, soft = false, names = ["Before", "After"], size = null, label = "" }) {
    const turn = ++this.#turn;
    const failed = [];
    const load = async (blob, name, shown, size) => {
      if (!blob) return null;
      if (blob === shown?.blob) return shown;  // a new preview over the same source, say
      try {
        return await Layer.of(blob, size);
      } catch {
        failed.push(name);
        return null;
      }
    };
    const [first, second] = await Promise.all([load(before, "before", this.#before, null), load(after, "after", this.#after, size)]);
    const late = turn !== this.#turn;  // something else was asked for meanwhile
    const used = late ? [this.#before, this.#after] : [first, second];
    for (const layer of [first, second, this.#before, this.#after]) if (layer && !used.includes(layer)) layer.close();
    if (late) return null;
    this.#before = first;
    this.#after = second;
    this.#soft = soft;
    this.#names = names;
    const main = size ?? (soft ? first ?? second : second ?? first);
    const old = this.#width;
    this.#width = main?.width ?? 0;
    this.#height = main?.height ?? 0;
    if (!keep) this.#fitting = true, this.#split = 0.5;
    else if (old && this.#width && !this.#fitting) this.#zoom *= old / this.#width;
    this.#canvas.setAttribute("aria-label", label || (main ? "Picture" : "No picture"));
    this.redraw();
    return failed;
  }

  // --- the view ---------------------------------------------------------------------------------------------------------

  fit() {
    this.#fitting = true;
    this.redraw();
  }

  full() { this.zoomTo(1); }

  // point: in device pixels of the canvas; what is there stays there. Without one, the middle.
  zoomTo(zoom, point = null) {
    if (!this.#width) return;
    const pane = this.#panes()[0];
    const at = point ?? { x: pane.x + pane.width / 2, y: pane.y + pane.height / 2 };
    const over = this.#panes().find((one) => at.x >= one.x && at.x < one.x + one.width) ?? pane;
    const place = this.#place(over);
    const held = { x: (at.x - place.x) / place.width, y: (at.y - place.y) / place.height };
    this.#fitting = false;
    this.#zoom = Math.min(MOST, Math.max(Math.min(1, this.#fitZoom() / 4), zoom));
    const width = this.#width * this.#zoom, height = this.#height * this.#zoom;
    this.#center = {
      x: held.x - (at.x - over.x - over.width / 2) / width,
      y: held.y - (at.y - over.y - over.height / 2) / height,
    };
    this.redraw();
  }

  zoomBy(factor, point = null) { this.zoomTo(this.#zoom * factor, point); }

  // To the next round zoom above (1) or below (-1).
  zoomStep(by) {
    const next = by > 0 ? STEPS.find((zoom) => zoom > this.#zoom * 1.01) : STEPS.findLast((zoom) => zoom < this.#zoom * 0.99);
    if (next) this.zoomTo(next);
  }

  moveSplit(by) { this.setSplit(this.#split + by); }

  setSplit(split) {
    this.#split = Math.min(1, Math.max(0, split));
    this.redraw();
  }

  setPair(pair) {
    this.#pair = pair;
    this.redraw();
  }

  holdBefore(held) {
    if (this.#onlyBefore === held) return;
    this.#onlyBefore = held;
    this.redraw();
  }

  // painter: {draw(context, place), down(point, place), move(point, place), up(), cancel(), hover(point or null)}; null: nobody. While there is one
  // the picture before is shown alone, and a drag is its; two fingers, Shift or the middle button still move the picture.
  setPainter(painter) {
    this.#painter = painter;
    this.#view.classList.toggle("painting", Boolean(painter));
    this.redraw();
  }

  get #sourceAlone() { return this.#onlyBefore || Boolean(this.#painter); }

  #panes() {
    const { width, height } = this.#canvas;
    if (!this.#pair || !this.canCompare || this.#painter) return [{ x: 0, y: 0, width, height }];
    const half = Math.floor(width / 2), gap = Math.round(devicePixelRatio);
    return [{ x: 0, y: 0, width: half - gap, height }, { x: half + gap, y: 0, width: width - half - gap, height }];
  }

  #fitZoom() {
    const pane = this.#panes()[0];
    const margin = 0.97;
    const zoom = Math.min(pane.width * margin / this.#width, pane.height * margin / this.#height);
    return Math.min(zoom, 8 * devicePixelRatio);  // a tiny picture is not blown up to the brim
  }

  // Where the whole picture lies, in device pixels.
  #place(pane) {
    const width = this.#width * this.#zoom, height = this.#height * this.#zoom;
    return { x: pane.x + pane.width / 2 - this.#center.x * width, y: pane.y + pane.height / 2 - this.#center.y * height, width, height };
  }

  // The picture cannot be lost: some of it always covers the middle.
  #settle() {
    if (this.#fitting) {
      this.#zoom = this.#fitZoom();
      this.#center = { x: 0.5, y: 0.5 };
      return;
    }
    const pane = this.#panes()[0];
    for (const [axis, shown, side] of [["x", pane.width, this.#width], ["y", pane.height, this.#height]]) {
      const free = Math.max(0, 0.5 - shown / (side * this.#zoom) / 2);
      this.#center[axis] = Math.min(0.5 + free, Math.max(0.5 - free, this.#center[axis]));
    }
  }

  // --- drawing ----------------------------------------------------------------------------------------------------------

  #resized() {
    const width = Math.max(1, Math.round(this.#view.clientWidth * devicePixelRatio));
    const height = Math.max(1, Math.round(this.#view.clientHeight * devicePixelRatio));
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    this.#draw();
  }

  redraw() {
    if (!this.#asked) this.#asked = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#asked);
    this.#asked = 0;
    const context = this.#context, { width, height } = this.#canvas;
    context.clearRect(0, 0, width, height);
    if (this.#width) {
      this.#settle();
      const panes = this.#panes();
      if (panes.length === 2) {
        this.#layer(this.#before, panes[0], panes[0]);
        this.#layer(this.#after, panes[1], panes[1]);
      } else if (this.canCompare && !this.#sourceAlone) {
        const at = this.#splitAt();
        this.#layer(this.#before, panes[0], { x: 0, y: 0, width: at, height });
        this.#layer(this.#after, panes[0], { x: at, y: 0, width: width - at, height });
      } else {
        const only = this.#sourceAlone ? this.#before ?? this.#after : this.#after ?? this.#before;
        this.#layer(only, panes[0], panes[0]);
        this.#painter?.draw(context, this.#place(panes[0]));
      }
    }
    this.#decorate();
    this.dispatchEvent(new Event("change"));
  }

  #layer(layer, pane, clip) {
    if (!layer) return;
    const place = this.#place(pane);
    // On the pixel grid, or 100 % would not be crisp.
    place.x = Math.round(place.x);
    place.y = Math.round(place.y);
    const left = Math.max(clip.x, place.x), top = Math.max(clip.y, place.y);
    const right = Math.min(clip.x + clip.width, place.x + place.width), bottom = Math.min(clip.y + clip.height, place.y + place.height);
    if (right <= left || bottom <= top) return;
    this.#context.fillStyle = this.#checkerboard();  // seen where the picture is transparent
    this.#context.fillRect(left, top, right - left, bottom - top);
    // Fitted, a picture is interpolated. Zoomed in by hand its pixels are shown; a source that is smaller is interpolated up to 200 %, as
    // other programs would enlarge it.
    const smooth = this.#fitting || (this.#soft && layer === this.#after) || (layer.width < this.#width && this.#zoom < 2);
    layer.draw(this.#context, place, { x: left, y: top, width: right - left, height: bottom - top }, smooth);
  }

  #checkerboard() {
    if (!this.#checker) {
      const tile = new OffscreenCanvas(16, 16), pen = tile.getContext("2d");
      pen.fillStyle = "#8a8a8a";
      pen.fillRect(0, 0, 16, 16);
      pen.fillStyle = "#9c9c9c";
      pen.fillRect(0, 0, 8, 8);
      pen.fillRect(8, 8, 8, 8);
      this.#checker = this.#context.createPattern(tile, "repeat");
    }
    return this.#checker;
  }

  // The visible part of the picture from left to right, in device pixels.
  #reach() {
    const place = this.#place(this.#panes()[0]);
    return { left: Math.max(0, place.x), right: Math.min(this.#canvas.width, place.x + place.width) };
  }

  #splitAt() {
    const { left, right } = this.#reach();
    return Math.round(left + this.#split * (right - left));
  }

  #decorate() {
    const slider = this.canCompare && !this.#pair && !this.#sourceAlone;
    this.#divider.hidden = !slider;
    if (slider) {
      this.#divider.style.left = `${this.#splitAt() / devicePixelRatio}px`;
      this.#divider.setAttribute("aria-valuenow", Math.round(100 * this.#split));
      this.#divider.setAttribute("aria-valuetext", `${Math.round(100 * this.#split)} % before`);
    }
    const [before, after] = [byId("tag-before"), byId("tag-after")];
    before.hidden = !(this.#before && (this.canCompare ? this.#pair || this.#sourceAlone || this.#split > 0.02 : !this.#after || this.#painter));
    after.hidden = !(this.#after && !this.#painter && (this.canCompare ? !this.#onlyBefore && (this.#pair || this.#split < 0.98) : true));
    setText(before, this.#names[0]);
    setText(after, this.#names[1]);
  }

  // --- pointers ---------------------------------------------------------------------------------------------------------

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * devicePixelRatio, y: (event.clientY - box.top) * devicePixelRatio };
  }

  #listen() {
    const view = this.#view;
    view.addEventListener("wheel", (event) => {
      if (!this.#width) return;
      event.preventDefault();
      // Lines, pages or pixels; a pinch on a touch pad comes as a wheel with Ctrl and small steps.
      const step = event.deltaY * (event.deltaMode === 1 ? 30 : event.deltaMode === 2 ? 300 : 1);
      this.zoomBy(Math.exp(-step * (event.ctrlKey ? 0.01 : 0.0015)), this.#point(event));
    }, { passive: false });
    view.addEventListener("dblclick", (event) => {
      if (!this.#width || this.#painter || event.target.closest("button")) return;
      if (this.#fitting) this.zoomTo(1, this.#point(event));
      else this.fit();
    });
    view.addEventListener("pointerdown", (event) => {
      if (!this.#width || event.button > (this.#painter ? 1 : 0) || event.target.closest("button")) return;
      view.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, this.#point(event));
      if (this.#pointers.size === 1) this.#holding = this.#whatIsHeld(event);
      else if (this.#holding === "paint") this.#painter?.cancel(), this.#holding = "place";
      if (this.#holding === "split" && event.target !== this.#divider && this.#fitting) this.#dragSplit(this.#point(event));
      if (this.#holding === "paint") this.#painter.down(this.#point(event), this.#place(this.#panes()[0]));
    });
    view.addEventListener("pointermove", (event) => {
      const old = this.#pointers.get(event.pointerId);
      if (!old) return void this.#painter?.hover(this.#point(event));
      const now = this.#point(event);
      if (this.#pointers.size === 2) this.#pinch(event.pointerId, old, now);
      else if (this.#holding === "split") this.#dragSplit(now);
      else if (this.#holding === "paint") this.#painter?.move(now, this.#place(this.#panes()[0]));
      else this.#pan(now.x - old.x, now.y - old.y);
      this.#pointers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      view.addEventListener(end, (event) => {
        if (this.#pointers.delete(event.pointerId) && this.#holding === "paint") this.#painter?.up();
        if (this.#pointers.size === 1) this.#holding = "place";
      });
    }
    view.addEventListener("pointerleave", () => this.#painter?.hover(null));
  }

  // The divider, or near it, moves the divider; so does any drag while nothing can be panned.
  #whatIsHeld(event) {
    if (this.#painter) return event.button === 1 || event.shiftKey ? "place" : "paint";
    if (!this.canCompare || this.#pair) return "place";
    const near = Math.abs(this.#point(event).x - this.#splitAt()) < GRIP * devicePixelRatio;
    const { width, height } = this.#canvas;
    const whole = this.#width * this.#zoom <= width + 1 && this.#height * this.#zoom <= height + 1;
    return near || event.target.closest("#divider") || whole ? "split" : "place";
  }

  #dragSplit(point) {
    const { left, right } = this.#reach();
    this.setSplit((point.x - left) / (right - left));
  }

  #pan(x, y) {
    if (this.#fitting) return;
    this.#center.x -= x / (this.#width * this.#zoom);
    this.#center.y -= y / (this.#height * this.#zoom);
    this.redraw();
  }

  #pinch(id, old, now) {
    const [, other] = [...this.#pointers].find(([key]) => key !== id);
    const before = Math.hypot(old.x - other.x, old.y - other.y), after = Math.hypot(now.x - other.x, now.y - other.y);
    if (before > 0) this.zoomBy(after / before, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    this.#pan((now.x - old.x) / 2, (now.y - old.y) / 2);
  }
}
