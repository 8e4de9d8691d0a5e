// A picture ready to be drawn at any zoom: the whole bitmap, and halves of it for looking from afar.
const SMALLEST = 1024;  // px of the longer side, below which no further half is made

export class Layer {
  // levels[0] is the picture, each next one half of the one before.
  constructor(blob, levels) {
    this.blob = blob;
    this.levels = levels;
    this.width = levels[0].width;
    this.height = levels[0].height;
  }

  // most: {width, height}; what is beyond, a tile's padding at the right and the bottom, is left out. Throws where the browser cannot decode it.
  static async of(blob, most = null) {
    let whole = await createImageBitmap(blob);
    if (most && whole.width >= most.width && whole.height >= most.height && whole.width * whole.height > most.width * most.height) {
      const padded = whole;
      whole = await createImageBitmap(padded, 0, 0, most.width, most.height);
      padded.close();
    }
    const levels = [whole];
    for (let last = levels[0]; Math.max(last.width, last.height) > 2 * SMALLEST; last = levels.at(-1)) {
      const half = { resizeWidth: Math.ceil(last.width / 2), resizeHeight: Math.ceil(last.height / 2), resizeQuality: "medium" };
      levels.push(await createImageBitmap(last, half));
    }
    return new Layer(blob, levels);
  }

  close() {
    for (const level of this.levels) level.close();
    this.levels = [];
  }

  // Draws the part of the picture that lies in `clip`, where the whole picture would fill `place` (both {x, y, width, height} in device
  // pixels). smooth: interpolate where it is enlarged.
  draw(context, place, clip, smooth) {
    if (!this.levels.length) return;
    const ratio = place.width / this.width;  // device pixels of a picture pixel
    let index = 0;
    while (index + 1 < this.levels.length && ratio * 2 ** (index + 1) <= 1) index += 1;
    const level = this.levels[index];
    const scaleX = place.width / level.width, scaleY = place.height / level.height;
    // Whole pixels of the level, one more on each side: no more is touched, and the grid stays where it is.
    const left = Math.max(0, Math.floor((clip.x - place.x) / scaleX) - 1);
    const top = Math.max(0, Math.floor((clip.y - place.y) / scaleY) - 1);
    const right = Math.min(level.width, Math.ceil((clip.x + clip.width - place.x) / scaleX) + 1);
    const bottom = Math.min(level.height, Math.ceil((clip.y + clip.height - place.y) / scaleY) + 1);
    if (right <= left || bottom <= top) return;
    context.save();
    context.beginPath();
    context.rect(clip.x, clip.y, clip.width, clip.height);
    context.clip();
    context.imageSmoothingEnabled = scaleX < 1 || smooth;
    context.imageSmoothingQuality = scaleX < 1 ? "high" : "medium";
    context.drawImage(level, left, top, right - left, bottom - top,
      place.x + left * scaleX, place.y + top * scaleY, (right - left) * scaleX, (bottom - top) * scaleY);
    context.restore();
  }
}
