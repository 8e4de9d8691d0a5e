// The page put together: what is selected, what is shown of it, what the buttons and keys do.
import { download, json, key, picture, prepareKeyDialog } from "./api.js";
import { Candidates } from "./candidates.js";
import { byId, say, setText, tell, tellError } from "./elements.js";
import { Facts } from "./facts.js";
import { isPicture, listenForFiles } from "./intake.js";
import { Jobs, isActive } from "./jobs.js";
import { List } from "./list.js";
import { MaskEditor } from "./mask.js";
import { SchemaForm } from "./schema_form.js";
import { listenForKeys } from "./shortcuts.js";
import { Viewer } from "./viewer.js";
import { STATES, bytes } from "./words.js";

const OPTIONS = "resflow-options";

const jobs = new Jobs();
const viewer = new Viewer();
const list = new List(jobs, (item) => select(item));
const facts = new Facts({ cancel: guarded((item) => jobs.cancel(item)), save, reuse, remove: guarded(remove) });
const candidates = new Candidates({ look: () => showPictures(true), pick: guarded((name) => jobs.pick(jobs.selected, name)) });
const mask = new MaskEditor(viewer, (item) => facts.show(item));
let form = null, limits = {};
let shown = "";  // what the viewer was last told to show
let arriving = null;  // the item whose preview is on its way to it

function guarded(action) {
  return async (...arguments_) => {
    try {
      return await action(...arguments_);
    } catch (error) {
      tellError(error);
    }
  };
}

// --- what is looked at ----------------------------------------------------------------------------------------------------

function select(item) {
  if (item === jobs.selected) return;
  mask.close();
  jobs.select(item);
  shown = "";
  refresh();
  showPictures(false);
  if (item) list.reveal(item);
}

// Shows source and result (or preview, or the candidate that is looked at) of the selected picture. keep: zoom and place stay.
const showPictures = guarded(async (keep) => {
  const item = jobs.selected;
  byId("empty").hidden = Boolean(item);
  if (!item) return void viewer.show({ before: null, after: null });
  const { job } = item;
  const looked = candidates.looked;
  const done = item.state === "done" && job.result;
  const path = looked ? pathOf(looked, job) : done ? `${job.links.result}?inline=1&n=${item.picked ?? 0}-${Date.parse(job.finished)}` : item.preview;
  const wanted = `${item.key} ${path}`;
  if (wanted === shown) return;
  const live = !looked && !done && path;
  if (live && arriving === item) return;  // on a busy machine each preview would be given up for the next, and none be seen
  shown = wanted;
  if (live) arriving = item;
  try {
    const ofOneTile = looked && candidates.report.tiles > 1;  // has no place in the whole picture
    let before = null, after = null;
    try {
      if (!ofOneTile) before = await sourceOf(item);
      if (path) after = await picture(path);
    } catch (error) {
      if (wanted === shown) shown = "";  // the next call tries again
      if (error.status !== 404) throw error;  // a preview may be gone already
    }
    if (item !== jobs.selected || (wanted !== shown && shown)) return;
    const failed = await viewer.show({
      before, after, keep, soft: looked ? !looked.finished : !done, size: done && !ofOneTile ? job.result : null, label: item.name,
      names: ["Before", looked ? `Candidate ${looked.id}` : done ? "After" : "Preview"],
    });
    if (failed === null) return;
    const note = byId("view-note");
    note.hidden = failed.length === 0;
    if (failed.includes("after")) setText(note, done ? "This browser cannot show the result: download it" : "This browser cannot show the preview");
    else if (failed.length) setText(note, job ? "This browser cannot show the source" : "This browser cannot show this file; the server may read it");
  } finally {
    if (live && arriving === item) arriving = null;
  }
});

// A finished candidate is there in full size.
const pathOf = (candidate, job) =>
  (candidate.finished ? `${job.links.candidates}/${candidate.tile}:${candidate.id}/picture?whole=1` : candidate.thumbnail);

// The server's rendering of the source, or the file itself while there is none.
async function sourceOf(item) {
  if (!item.job) return item.file;
  try {
    return await picture(item.job.links.source);
  } catch (error) {
    if (error.status !== 404) throw error;
    return item.file;
  }
}

// --- what is going on -----------------------------------------------------------------------------------------------------

function refresh() {
  if (jobs.selected && !jobs.items.includes(jobs.selected)) {
    const same = jobs.items.find((item) => item.job && item.job.id === jobs.selected.job?.id);
    return select(same ?? jobs.items[0] ?? null);
  }
  list.update();
  facts.show(jobs.selected);
  // The address names the job, so that a reload shows it again.
  const hash = jobs.selected?.job ? `#${jobs.selected.job.id}` : "";
  if (jobs.selected && location.hash !== hash) history.replaceState(null, "", hash || location.pathname + location.search);
  candidatesFor(jobs.selected);
  const ready = jobs.items.filter((item) => item.state === "ready" || item.state === "refused");
  const button = byId("restore");
  button.disabled = !form || (!ready.length && !jobs.selected);
  byId("mask").disabled = !jobs.selected || isActive(jobs.selected);
  setText(button, ready.length > 1 ? `Restore ${ready.length} pictures` : ready.length || !jobs.selected ? "Restore" : "Restore again");
  const busy = jobs.items.filter(isActive).length;
  document.title = busy ? `(${busy}) resflow` : "resflow";
}

// -> once they are there; asks only when something has changed.
let candidatesOf = "", candidatesShown = null;
function candidatesFor(item) {
  const wanted = item ? `${item.key} ${item.state} ${item.job?.searched} ${item.picked ?? 0}` : "";
  if (wanted === candidatesOf) return candidatesShown;
  candidatesOf = wanted;
  return candidatesShown = candidates.show(item).catch((error) => tellError(error));
}

let asked = 0;
jobs.addEventListener("list", () => {
  // Many events come at once while a job runs.
  asked ||= requestAnimationFrame(() => {
    asked = 0;
    refresh();
    const running = jobs.selected?.job?.progress;
    if (jobs.selected?.state === "running" && running) say(`${jobs.selected.name}: ${25 * Math.floor(4 * running.fraction)} %`);
    if (!jobs.selected) openFromAddress();
  });
});
jobs.addEventListener("preview", ({ detail }) => detail === jobs.selected && detail.state === "running" && showPictures(true));
jobs.addEventListener("refused", ({ detail }) => {
  const named = form.complain(detail.error.message);
  if (detail !== jobs.selected) tellError(detail.error, named ? "" : detail.name);  // else it stands under the picture
});
jobs.addEventListener("final", ({ detail }) => {
  say(`${detail.name}: ${STATES[detail.state]}`);
  if (detail.state === "failed" && detail !== jobs.selected) tellError(detail.error ?? new Error("it failed"), detail.name);
  list.refresh(detail);
  refresh();
  if (detail === jobs.selected) guarded(async () => {
    await candidatesFor(detail);
    await showPictures(true);
  })();
});
jobs.addEventListener("away", ({ detail }) => {
  const bar = byId("away");
  bar.hidden = detail === 0;
  if (detail) setText(bar, "The server does not answer. Trying again …");
  else {
    guarded(connect)();
    if (!shown) showPictures(true);
  }
});

// --- actions --------------------------------------------------------------------------------------------------------------

function take(files) {
  const good = files.filter(isPicture);
  for (const file of files) if (!good.includes(file)) tell(`${file.name} is not a picture`, { error: true });
  const tooLarge = good.filter((file) => limits.body_bytes && file.size > limits.body_bytes);
  for (const file of tooLarge) tell(`${file.name} is too large: ${bytes(file.size)}, this server takes ${bytes(limits.body_bytes)}`, { error: true });
  const items = jobs.add(good.filter((file) => !tooLarge.includes(file)));
  if (items.length) select(items[0]);
  if (items.length > 1) say(`${items.length} pictures added`);
}

const restore = guarded(async () => {
  if (!form || byId("restore").disabled || !form.check()) return;
  mask.close();
  const options = form.value();
  const ready = jobs.items.filter((item) => item.state === "ready" || item.state === "refused").reverse();
  if (ready.length) jobs.submit(ready, options);
  else if (jobs.selected) {
    const { job } = jobs.selected;
    if (job?.manifest?.mask && !jobs.selected.mask) tell("It had a mask, which the page has no longer: all of it is restored now");
    select(await jobs.again(jobs.selected, options));
  }
});

function save(item) {
  return guarded(() => download(item.job.links.result, `${item.name.replace(/\.[^.]*$/, "")}_resflow.${item.job.result.format}`))();
}

const saveAll = guarded(async () => {
  for (const item of jobs.items.filter((one) => one.state === "done").reverse()) await save(item);
});

function toggleMask() {
  if (mask.isOpen) mask.close();
  else if (!byId("mask").disabled) mask.open(jobs.selected);
  refresh();
}

function reuse(item) {
  form.set(item.job.options);
  keepOptions();
  tell("The options are those of this picture now");
}

async function remove(item) {
  if (item.state === "done" && !confirm(`Remove ${item.name} and its result from the server?`)) return;
  const next = jobs.items[jobs.items.indexOf(item) + 1] ?? jobs.items[jobs.items.indexOf(item) - 1] ?? null;
  await jobs.remove(item);
  if (item === jobs.selected) select(next);
}

const clear = guarded(async () => {
  const gone = jobs.items.filter((item) => !isActive(item));
  if (gone.some((item) => item.job) && !confirm(`Remove ${gone.length} pictures from the list, and their results from the server?`)) return;
  for (const item of gone) await jobs.remove(item);
});

function keepOptions() {
  const options = form.value({ all: true });
  byId("reset").hidden = Object.keys(options).length === 0;
  localStorage.setItem(OPTIONS, JSON.stringify(options));
}

// --- start ----------------------------------------------------------------------------------------------------------------

function openFromAddress() {
  const wanted = location.hash.slice(1);
  const item = jobs.items.find((one) => one.job?.id === wanted) ?? jobs.items[0];
  if (item) select(item);
}

// Asks what the server is and can. Again after it was away, or a key was given.
async function connect() {
  const [schema, models] = await Promise.all([json("/v1/schema"), json("/v1/models")]);
  limits = schema.limits ?? {};
  setText(byId("server"), models.data.map((model) => model.id).join(", "));
  if (limits.body_bytes) setText(byId("limits"), `PNG, JPEG, WebP, TIFF, AVIF; up to ${bytes(limits.body_bytes)}`);
  if (!form) {
    form = new SchemaForm(byId("form"), schema, keepOptions);
    try {
      form.set(JSON.parse(localStorage.getItem(OPTIONS) ?? "{}"));
    } catch {
      // Kept by another version: the defaults do.
    }
    keepOptions();
  }
  refresh();
}

const start = guarded(() => connect().catch((error) => {
  if (error.status !== 0) throw error;  // the list says that the server is away, and when it is back
}));

prepareKeyDialog();
if (key()) byId("key-button").hidden = false;
document.addEventListener("keychange", () => {
  jobs.look();
  start();
});
listenForFiles(take);
listenForKeys({ viewer, candidates, mask, toggleMask, restore, move: (by) => {
  const next = jobs.items[jobs.items.indexOf(jobs.selected) + by];
  if (next) select(next);
} });
byId("restore").addEventListener("click", restore);
byId("save-all").addEventListener("click", saveAll);
byId("clear").addEventListener("click", clear);
byId("reset").addEventListener("click", () => {
  form.set({});
  keepOptions();
});
addEventListener("hashchange", openFromAddress);
refresh();
jobs.start();
start();
