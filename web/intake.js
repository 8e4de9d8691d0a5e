// Files come in: dropped (folders too), pasted, chosen.
import { byId } from "./elements.js";
import { extension } from "./words.js";

const PICTURES = new Set(["png", "jpg", "jpeg", "jpe", "jfif", "webp", "tif", "tiff", "avif", "heic", "heif", "gif", "bmp", "ppm", "pgm", "pnm"]);
export const isPicture = (file) => file.type.startsWith("image/") || PICTURES.has(extension(file.name));

// All files below a dropped entry, in the order of their names.
async function filesBelow(entry) {
  if (entry.isFile) return [await new Promise((good, bad) => entry.file(good, bad))];
  const reader = entry.createReader(), entries = [];
  for (;;) {  // a folder is read in parts
    const part = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!part.length) break;
    entries.push(...part);
  }
  entries.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const files = [];
  for (const one of entries) files.push(...await filesBelow(one));
  return files;
}

async function filesOf(transfer) {
  const entries = [...transfer.items ?? []].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.());
  // Only a folder needs the entries; and files made by a script have none.
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  const files = [];
  for (const entry of entries) if (entry) files.push(...await filesBelow(entry));
  return files;
}

// take(files) gets whatever came.
export function listenForFiles(take) {
  const input = byId("files"), sheet = byId("drop");
  input.accept = ["image/*", ...[...PICTURES].map((ending) => `.${ending}`)].join(",");
  for (const id of ["add", "choose"]) byId(id).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });

  let depth = 0;  // dragenter and dragleave come for every element on the way
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  const over = (by) => {
    depth = Math.max(0, depth + by);
    sheet.hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => holdsFiles(event) && over(1));
  addEventListener("dragleave", (event) => holdsFiles(event) && over(-1));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over(-depth);
    take(await filesOf(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData?.files ?? []];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}
