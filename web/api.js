// The server: requests with the key, errors as it words them, event streams, pictures.
import { byId } from "./elements.js";

const KEY = "resflow-key";

// What the server said. status 0: no answer at all.
export class ServerError extends Error {
  constructor(status, message, code = "", hint = "", retryAfter = 0) {
    super(message);
    Object.assign(this, { name: "ServerError", status, code, hint, retryAfter });
  }
}

// Links of the server begin with "/": behind a proxy the page may live deeper.
const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI);

async function errorOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  let said = null;
  try {
    said = (await response.json()).error;
  } catch {
    // Not JSON: a proxy's page, say.
  }
  if (typeof said === "string") said = { message: said };
  return new ServerError(response.status, said?.message || `The server answered ${response.status} ${response.statusText}`.trim(), said?.code,
    said?.hint, retryAfter);
}

// --- the key --------------------------------------------------------------------------------------------------------------

let asking = null;
export const key = () => sessionStorage.getItem(KEY) ?? "";

// Opens the dialog; true once a key was typed, false when it was closed. Requests that fail meanwhile wait for the same answer.
export function askKey(complaint = "") {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog"), input = byId("key");
    byId("key-error").textContent = complaint;
    input.value = "";
    const done = () => {
      dialog.removeEventListener("close", done);
      asking = null;
      const typed = dialog.returnValue === "given" ? input.value.trim() : "";
      if (typed) sessionStorage.setItem(KEY, typed);
      input.value = "";
      resolve(Boolean(typed));
    };
    dialog.returnValue = "";
    dialog.addEventListener("close", done);
    dialog.showModal();
    input.focus();
  });
  return asking;
}

export function prepareKeyDialog() {
  const dialog = byId("key-dialog");
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (byId("key").value.trim()) dialog.close("given");
  });
  byId("key-cancel").addEventListener("click", () => dialog.close(""));
  byId("key-button").addEventListener("click", async () => {
    if (await askKey()) document.dispatchEvent(new Event("keychange"));
  });
}

// --- requests -------------------------------------------------------------------------------------------------------------

// A Response with a good status. Asks for a key where the server wants one, and tries again. quiet: a missing key is an error at once.
export async function request(path, { method = "GET", body, headers = {}, signal, quiet = false } = {}) {
  for (;;) {
    const used = key();
    let response;
    try {
      response = await fetch(address(path), {
        method, body, signal, cache: "no-store",
        headers: used ? { ...headers, Authorization: `Bearer ${used}` } : headers,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(0, "The server does not answer", "away", "Is `resflow serve` still running?");
    }
    if (response.ok) return response;
    const error = await errorOf(response);
    if (response.status !== 401) throw error;
    byId("key-button").hidden = false;
    if (used !== key()) continue;  // another request got a new one meanwhile
    if (quiet) throw error;
    if (used) sessionStorage.removeItem(KEY);
    if (!(await askKey(used ? "The server did not accept this key." : ""))) throw error;
  }
}

export const json = async (path, options) => (await request(path, options)).json();

export const send = (path, content) =>
  json(path, { method: "POST", body: JSON.stringify(content), headers: { "Content-Type": "application/json" } });

// A new job. options: {restore: {...}, search: {...}, files: {...}}; mask: a Blob, white where the picture is restored, or null.
export function sendPicture({ file, name, mask, options }, signal) {
  const form = new FormData();
  form.append("image", file, name);
  if (mask) form.append("mask", mask, "mask.png");
  form.append("options", JSON.stringify(options));
  return json("/v1/jobs", { method: "POST", body: form, signal });
}

// --- pictures -------------------------------------------------------------------------------------------------------------

const kept = new Map();  // path -> promise of a Blob, the latest ones
const KEPT = 48;

// Pictures come by fetch, since an <img> could not carry the key.
export function picture(path) {
  let found = kept.get(path);
  if (found) {
    kept.delete(path);
  } else {
    found = request(path, { quiet: true }).then((response) => response.blob());
    found.catch(() => kept.delete(path));
  }
  kept.set(path, found);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return found;
}

// The file and the name that the server gave it.
export async function download(path, fallbackName) {
  const response = await request(path);
  const header = response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=(?:UTF-8|utf-8)''([^;]+)/.exec(header)?.[1];
  const name = encoded ? decodeURIComponent(encoded) : /filename="?([^";]+)"?/.exec(header)?.[1] ?? fallbackName;
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// --- event streams --------------------------------------------------------------------------------------------------------

// Server-sent events by fetch: EventSource has no headers. Calls on(event, data) until the stream ends, or throws.
export async function events(path, on, signal) {
  const response = await request(path, { signal, quiet: true, headers: { Accept: "text/event-stream" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", name = "message", data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const lines = text.split(/\r\n|\n|\r/);
    text = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) on(name, JSON.parse(data.join("\n")));
        name = "message";
        data = [];
      } else if (!line.startsWith(":")) {
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const content = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "event") name = content;
        if (field === "data") data.push(content);
      }
    }
  }
}
