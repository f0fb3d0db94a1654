// The visitor's jobs: started, followed by the server's events, kept on the shelf, brought back.
import { allowPaint, ask, choice, complain, element, find, hold, server, tell } from "./common.js";
import { endBrushing, keepMasks, sendMasks, setMasks } from "./brush.js";
import { isActive, word } from "./messages.js";
import { askFromSources, findPicture, showChosen } from "./pictures.js";
import { setSettings, settings, showEstimate } from "./options.js";
import { bringIntoView, showJob } from "./viewer.js";

const RETRY = 5000; // ms
const jobs = new Map(); // id: what the server sent last, and the photo it was painted from
let shown = null; // id of the job in the viewer
let events = null;
const others = new BroadcastChannel("jobs"); // the page's other tabs: they tell each other of what was deleted

export const shownJob = () => jobs.get(shown);
export const jobIds = () => [...jobs.keys()];
export const leave = () => turnTo(null);

function turnTo(id) {
  if (id !== shown) tell("turned");
  if (id !== shown && jobs.get(shown)?.is_deleted) forget(shown);
  shown = id;
  listJobs();
  listenIfNeeded();
}

export async function paint(event) {
  event.preventDefault();
  complain(null);
  allowPaint({ isAsked: true });
  try {
    await start(request(), choice.content);
    endBrushing();
    bringIntoView();
  } catch (error) {
    complain(error);
  } finally {
    allowPaint({ isAsked: false });
    if (document.activeElement === document.body) find("paint").focus({ preventScroll: true }); // it had it
  }
}

const request = () => askFromSources(async (sources) => {
  const given = { ...settings(), ...sources }; // not what may be chosen while the masks are sent
  return ask("POST", "api/jobs", { ...given, masks: await sendMasks() });
});

// Shows a job as soon as it is there, unless the visitor has turned to something else meanwhile.
export async function start(asked, photo) {
  const before = shown;
  const job = await asked;
  take(job, photo);
  if (shown === before) follow(job.id);
  else turnTo(shown);
  tell("changed");
}

export function take(job, photo) {
  const before = jobs.get(job.id);
  const given = photo || before?.photo || findPicture("content", job.sources?.content) || { url: `api/jobs/${job.id}/photo` };
  jobs.set(job.id, { ...job, photo: given, kept: undefined, copies: before?.copies, copied: before?.copied });
  if (job.id === shown && isActive(job) && !isActive(before)) tell("turned");
  const pace = job.progress?.steps_per_second;
  if (pace && isActive(job)) {
    server.paces[job.settings.quality] = 1e6 / (pace * job.progress.width * job.progress.height);
    showEstimate();
  }
  keepMasks(job.sources?.masks);
  if (job.picture && before?.copied !== job.preview) keepCopies(jobs.get(job.id));
  // The server forgets the oldest finished ones as well.
  const finished = [...jobs.values()].filter((one) => !isActive(one) && one.id !== job.id);
  for (const one of finished.slice(0, Math.max(0, jobs.size - server.limits.kept))) forget(one.id);
}

function forget(id) {
  release(jobs.get(id)?.copies);
  jobs.delete(id);
}

const release = (copies) => Object.values(copies || {}).forEach((address) => URL.revokeObjectURL(address));

// What is finished is kept here too: the server may end.
async function keepCopies(job) {
  job.copied = job.preview;
  const blob = async (what) => URL.createObjectURL(await (await fetch(`api/jobs/${job.id}/${what}`)).blob());
  try {
    const copies = { preview: await blob(`preview?${job.preview}`), picture: await blob("picture") };
    const { copies: before } = jobs.get(job.id) || {};
    if (jobs.has(job.id)) jobs.get(job.id).copies = copies;
    release(jobs.has(job.id) ? before : copies);
  } catch {
    // it ended just now
  }
}

export function follow(id) {
  turnTo(id);
  showJob(jobs.get(id));
}

// Brings back a job's picture with its pictures and settings.
async function bringBack(id) {
  const job = jobs.get(id);
  complain(null);
  endBrushing();
  const styles = [].concat(job.sources.style).map((style) => findPicture("style", style));
  const content = findPicture("content", job.sources.content);
  if (content) choice.content = content;
  if (styles.every(Boolean)) {
    choice.styles = styles;
    find("blend").checked = styles.length > 1;
    styles.forEach((style, index) => (choice.weights[style.id] = job.settings.weights[index] ?? 1));
  }
  setSettings(job.settings);
  showChosen();
  follow(id);
  const lost = job.names.filter((_, index) => ![content, ...styles][index]);
  if (lost.length) complain(new Error(`not here any more: ${lost.join(", ")}; Paint takes what is chosen now.`));
  else await hold(setMasks(job.sources.masks)).catch(complain);
  tell("changed");
}

// One stream is for all jobs; the server ends it when none is active.
function listenIfNeeded() {
  const isNeeded = [...jobs.values()].some(isActive);
  if (isNeeded && !events) listenForEvents();
  if (isNeeded || !events) return;
  events.close();
  events = null;
}

function listenForEvents() {
  events = new EventSource("api/events");
  events.onmessage = (message) => {
    const update = JSON.parse(message.data);
    const before = jobs.get(update.id);
    take(update);
    if (shown === update.id) showJob(jobs.get(update.id));
    if (before?.status !== update.status || before?.preview !== update.preview) listJobs();
    listenIfNeeded();
  };
  events.onerror = () => {
    if (events?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    events = null;
    setTimeout(listenIfNeeded, RETRY); // too many tabs have one
  };
}

export async function act(what, body) {
  complain(null);
  const { id, photo } = shownJob();
  try {
    await start(ask("POST", `api/jobs/${id}/${what}`, body), photo);
  } catch (error) {
    if (error.status === 404) drop(id); // deleted in another tab
    complain(error);
  }
}

async function remove(id) {
  complain(null);
  try {
    if (!jobs.get(id).is_lost) await ask("POST", `api/jobs/${id}/delete`);
  } catch (error) {
    if (error.status !== 404) return complain(error);
  }
  drop(id);
  others.postMessage(id);
}

function drop(id) {
  forget(id);
  if (shown === id) tell("chosen");
  listJobs();
}

others.onmessage = ({ data: id }) => {
  if (id !== shown) forget(id);
  else lose([Object.assign(jobs.get(id), { is_deleted: true })]); // it is seen until something else is
  listJobs();
};

// The server has ended: what was copied is shown and downloaded from here.
export function useCopies() {
  for (const job of jobs.values()) job.kept = job.copies;
  if (shown && jobs.has(shown)) showJob(jobs.get(shown));
  listJobs();
}

// The server was started again, or has them no more: what was painted is shown from what is here.
function lose(gone) {
  for (const job of gone) {
    Object.assign(job, { is_lost: true, kept: job.copies || {}, picture: Boolean(job.copies) });
    if (!job.copies && job.id !== shown) forget(job.id);
  }
  if (shownJob()) showJob(shownJob());
}

// Takes the server's word for what there is; `had` are the ids of what was here when it was asked.
export function catchUp(known, had) {
  lose(had.filter((id) => jobs.has(id) && !known.some((job) => job.id === id)).map((id) => jobs.get(id)));
  for (const job of known) take(job);
  if (shownJob()) follow(shown);
  else turnTo(shown);
}

const items = new Map(); // id: its place on the shelf, which stays the same: the focus may be there

function listJobs() {
  const list = [...jobs.values()].filter((job) => !job.is_deleted).reverse();
  const shelf = find("jobs"), focused = document.activeElement, at = [...shelf.children].indexOf(focused?.closest("li"));
  find("recent").hidden = !list.length;
  const { kept, lifetime } = server.limits;
  find("kept-note").textContent = `The last ${kept}, for ${Math.round(lifetime / 60)} minutes after their last use. Download what you want to keep.`;
  for (const [id, item] of items) {
    if (list.some((job) => job.id === id)) continue;
    item.remove();
    items.delete(id);
  }
  list.forEach((job, index) => {
    if (!items.has(job.id)) items.set(job.id, newItem(job.id));
    const item = items.get(job.id);
    if (shelf.children[index] !== item) shelf.insertBefore(item, shelf.children[index] ?? null);
    fill(item, job);
  });
  if (at >= 0 && !focused.isConnected) (shelf.children[Math.min(at, list.length - 1)]?.firstElementChild || find("frame")).focus();
}

function newItem(id) {
  const button = element("button", { type: "button" }, element("img", { alt: "" }), element("i"));
  button.addEventListener("click", () => bringBack(id));
  const gone = element("button", { type: "button", className: "remove", textContent: "×" });
  gone.addEventListener("click", () => remove(id));
  return element("li", {}, button, gone);
}

function fill(item, job) {
  const names = job.names.map((name) => name.replace("sample:", "").replace("_", " ")).join(" × ");
  const [button, gone] = item.children, [image, state] = button.children;
  button.title = names;
  button.setAttribute("aria-label", `${names}, ${word(job)}`);
  button.setAttribute("aria-current", job.id === shown);
  const source = job.preview ? job.kept?.preview || `api/jobs/${job.id}/preview?${job.preview}` : "";
  image.hidden = !source;
  if (source && image.getAttribute("src") !== source) image.src = source;
  state.hidden = job.status === "complete";
  state.textContent = word(job);
  gone.hidden = isActive(job);
  gone.title = `Delete ${names}`;
  gone.setAttribute("aria-label", gone.title);
}
