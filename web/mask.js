// Where a picture is to be restored: painted over it with a brush, or read from another picture.
import { byId, setText, tell } from "./elements.js";

const LONGEST = 1024, SHORTEST = 64;  // px of the mask's sides: fine enough for a brush, and of the picture's shape to 1 %
const UNDO = 12;                      // strokes that can be taken back
const TINT = [255, 64, 160];          // of what is painted
const COVER = 0.5;                    // how much of the picture it hides
const SHAPE = 0.02;                   // by how much a mask's shape may differ: as the server has it (log of the ratio)

// A canvas of the picture's shape: opaque where the picture is restored, clear where it is only enlarged.
export class Mask {
  empty = true;
  #pen;
  #before = [];

  // Size of the picture.
  constructor(width, height) {
    const scale = Math.min(1, Math.max(LONGEST / Math.max(width, height), SHORTEST / Math.min(width, height)));
    this.canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    this.#pen = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  copy() {
    const copy = new Mask(this.canvas.width, this.canvas.height);
    copy.#pen.drawImage(this.canvas, 0, 0);
    copy.empty = this.empty;
    return copy;
  }

  // Whether another picture has this one's shape.
  fits(width, height) { return Math.abs(Math.log((width / height) / (this.canvas.width / this.canvas.height))) <= SHAPE; }

  // A round brush from one place to another, in fractions of the picture; radius as a fraction of its width.
  stroke(from, to, radius, erase) {
    const { width, height } = this.canvas, pen = this.#pen, r = Math.max(0.5, radius * width);
    pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
    pen.fillStyle = pen.strokeStyle = `rgb(${TINT})`;
    pen.lineWidth = 2 * r;
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(from.x * width, from.y * height);
    pen.lineTo(to.x * width, to.y * height);
    pen.stroke();
    pen.beginPath();  // a line without length is not drawn by all browsers
    pen.arc(to.x * width, to.y * height, r, 0, 2 * Math.PI);
    pen.fill();
    pen.globalCompositeOperation = "source-over";
  }

  // Before each change that can be taken back.
  remember() {
    this.#before.push(this.#pixels());
    if (this.#before.length > UNDO) this.#before.shift();
  }
  undo() {
    const pixels = this.#before.pop();
    if (pixels) this.#pen.putImageData(pixels, 0, 0);
    this.settle();
  }
  get canUndo() { return this.#before.length > 0; }

  invert() {
    const { width, height } = this.canvas;
    this.#pen.globalCompositeOperation = "xor";
    this.#pen.fillStyle = `rgb(${TINT})`;
    this.#pen.fillRect(0, 0, width, height);
    this.#pen.globalCompositeOperation = "source-over";
    this.settle();
  }
  clear() {
    this.#pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.settle();
  }

  // Takes a picture of the same shape: white is restored, black is not, what is transparent is not either.
  take(bitmap) {
    this.clear();
    this.#pen.drawImage(bitmap, 0, 0, this.canvas.width, this.canvas.height);
    const pixels = this.#pixels(), { data } = pixels;
    for (let i = 0; i < data.length; i += 4) {
      const white = (data[i] + data[i + 1] + data[i + 2]) / 765;
      [data[i], data[i + 1], data[i + 2]] = TINT;
      data[i + 3] = Math.round(data[i + 3] * white);
    }
    this.#pen.putImageData(pixels, 0, 0);
    this.settle();
  }

  // After each change: whether anything is painted.
  settle() {
    const { data } = this.#pixels();
    this.empty = true;
    for (let i = 3; i < data.length && this.empty; i += 4) this.empty = data[i] === 0;
  }

  // As the server takes it: a PNG, white where the picture is restored. null where nothing is painted: then all of it is.
  async blob() {
    if (this.empty) return null;
    const { width, height } = this.canvas;
    const made = new OffscreenCanvas(width, height), pen = made.getContext("2d");
    pen.drawImage(this.canvas, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = "destination-over";
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    return made.convertToBlob({ type: "image/png" });
  }

  #pixels() { return this.#pen.getImageData(0, 0, this.canvas.width, this.canvas.height); }
}

// The bar above the picture, and the brush on it. Is the viewer's painter while it is open.
export class MaskEditor {
  #viewer;
  #changed;
  #item = null;
  #erase = false;
  #last = null;  // where the stroke is
  #over = null;  // where the pointer is, in device pixels of the canvas

  // changed(item): its mask is another one.
  constructor(viewer, changed) {
    this.#viewer = viewer;
    this.#changed = changed;
    const act = (action) => () => this.#edit(action);
    const buttons = {
      "mask-paint": () => this.setErase(false), "mask-erase": () => this.setErase(true), "mask-undo": () => this.undo(),
      "mask-invert": act((mask) => mask.invert()), "mask-clear": act((mask) => mask.clear()),
      "mask-choose": () => byId("mask-file").click(), "mask-done": () => this.close(),
    };
    for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", action);
    byId("mask-size").addEventListener("input", () => this.#show());
    byId("mask-file").addEventListener("change", async ({ target }) => {
      const [file] = target.files;
      target.value = "";
      if (file) await this.#read(file);
    });
  }

  get isOpen() { return Boolean(this.#item); }

  open(item) {
    const size = this.#viewer.sourceSize;
    if (!size) return tell("A mask is painted over the picture: this browser cannot show it yet", { error: true });
    item.mask ??= new Mask(size.width, size.height);
    this.#item = item;
    this.#viewer.setPainter(this);
    this.#show();
  }

  close() {
    if (!this.#item) return;
    const item = this.#item;
    if (item.mask.empty) item.mask = null;
    this.#item = null;
    this.#last = this.#over = null;
    this.#viewer.setPainter(null);
    this.#show();
    this.#changed(item);
  }

  setErase(erase) {
    this.#erase = erase;
    this.#show();
  }
  toggleErase() { this.setErase(!this.#erase); }
  resize(by) {
    const range = byId("mask-size");
    range.value = Math.round(range.value * by);
    this.#show();
  }
  undo() {
    this.#item.mask.undo();
    this.#show();
  }

  #edit(action) {
    this.#item.mask.remember();
    action(this.#item.mask);
    this.#show();
  }

  async #read(file) {
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      return tell(`This browser cannot read ${file.name}: choose a PNG, JPEG or WebP`, { error: true });
    }
    const { mask } = this.#item ?? {};
    if (!mask) return;
    if (mask.fits(bitmap.width, bitmap.height)) this.#edit(() => mask.take(bitmap));
    else tell(`${file.name} has another shape than the picture`, { error: true });
    bitmap.close();
  }

  #show() {
    const { mask } = this.#item ?? {};
    byId("mask-bar").hidden = !mask;
    byId("mask").setAttribute("aria-pressed", String(Boolean(mask)));
    byId("mask-paint").setAttribute("aria-pressed", String(!this.#erase));
    byId("mask-erase").setAttribute("aria-pressed", String(this.#erase));
    if (mask) {
      byId("mask-undo").disabled = !mask.canUndo;
      byId("mask-clear").disabled = mask.empty;
      setText(byId("mask-note"), mask.empty ? "Paint what is to be restored. Nothing painted: all of it is." : "What is painted is restored; the rest is only enlarged.");
      this.#changed(this.#item);
    }
    this.#viewer.redraw();
  }

  // --- what the viewer asks of its painter: points in device pixels of the canvas, place: where the whole picture lies ------------

  get #radius() { return byId("mask-size").value * devicePixelRatio / 2; }
  #at(point, place) { return { x: (point.x - place.x) / place.width, y: (point.y - place.y) / place.height }; }

  down(point, place) {
    this.#item.mask.remember();
    this.#last = this.#at(point, place);
    this.move(point, place);
  }
  move(point, place) {
    if (!this.#last) return;
    const now = this.#at(point, place);
    this.#item.mask.stroke(this.#last, now, this.#radius / place.width, this.#erase);
    this.#last = now;
    this.hover(point);
  }
  up() {
    if (!this.#last) return;
    this.#last = null;
    this.#item.mask.settle();
    this.#show();
  }
  // Two fingers zoom: what the first one had begun is taken back.
  cancel() {
    if (!this.#last) return;
    this.#last = null;
    this.undo();
  }
  hover(point) {
    this.#over = point;
    this.#viewer.redraw();
  }

  draw(context, place) {
    context.save();
    context.globalAlpha = COVER;
    context.imageSmoothingEnabled = true;
    context.drawImage(this.#item.mask.canvas, place.x, place.y, place.width, place.height);
    context.globalAlpha = 1;
    if (this.#over) {
      for (const [width, colour] of [[3, "rgb(0 0 0 / 60%)"], [1.5, "#fff"]]) {  // seen on dark and on light
        context.lineWidth = width * devicePixelRatio;
        context.strokeStyle = colour;
        context.beginPath();
        context.arc(this.#over.x, this.#over.y, this.#radius, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    context.restore();
  }
}
