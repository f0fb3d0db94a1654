// The visitor's jobs: started, followed by the server's events, kept on the shelf, brought back.
import { ask, choice, complain, element, find, server } from "./common.js";
import { sendMasks, setMasks } from "./brush.js";
import { isActive, word } from "./messages.js";
import { findPicture, showChosen } from "./pictures.js";
import { setSettings, settings, showEstimate } from "./options.js";
import { sources } from "./instant.js";
import { showJob } from "./viewer.js";

const jobs = new Map(); // id: what the server sent last, and the photo it was painted from
let shown = null; // id of the job in the viewer
let events = null;

export const shownJob = () => jobs.get(shown);
export function leave() {
  shown = null;
  listJobs();
}

export async function paint(event) {
  event.preventDefault();
  complain(null);
  find("paint").disabled = true;
  try {
    const masks = await sendMasks();
    start(await ask("POST", "api/jobs", { ...settings(), ...sources(), masks }), choice.content);
    if (matchMedia("(max-width: 900px)").matches) find("frame").scrollIntoView({ behavior: "smooth", block: "center" });
  } catch (error) {
    complain(error);
  } finally {
    find("paint").disabled = false;
  }
}

export function start(job, photo) {
  take(job, photo);
  follow(job.id);
}

export function take(job, photo) {
  const before = jobs.get(job.id);
  const given = photo || before?.photo || findPicture("content", job.sources?.content) || { url: `api/jobs/${job.id}/photo` };
  jobs.set(job.id, { ...job, photo: given, kept: undefined, copies: before?.copies, copied: before?.copied });
  const pace = job.progress?.steps_per_second;
  if (pace && isActive(job)) {
    server.paces[job.settings.quality] = 1e6 / (pace * job.progress.width * job.progress.height);
    showEstimate();
  }
  if (job.picture && before?.copied !== job.preview) keepCopies(jobs.get(job.id));
  // The server forgets the oldest finished ones as well.
  const finished = [...jobs.values()].filter((one) => !isActive(one) && one.id !== job.id);
  for (const one of finished.slice(0, Math.max(0, jobs.size - server.limits.kept))) jobs.delete(one.id);
}

// What is finished is kept here too: the server may end.
async function keepCopies(job) {
  job.copied = job.preview;
  const blob = async (what) => URL.createObjectURL(await (await fetch(`api/jobs/${job.id}/${what}`)).blob());
  try {
    const copies = { preview: await blob(`preview?${job.preview}`), picture: await blob("picture") };
    if (jobs.has(job.id)) jobs.get(job.id).copies = copies;
  } catch {
    // it ended just now
  }
}

export function follow(id) {
  shown = id;
  showJob(jobs.get(id));
  listJobs();
  if (!events && [...jobs.values()].some(isActive)) listenForEvents();
}

// Brings back a job's picture with its pictures and settings.
function bringBack(id) {
  const job = jobs.get(id);
  complain(null);
  const styles = [].concat(job.sources.style).map((style) => findPicture("style", style));
  const content = findPicture("content", job.sources.content);
  if (content) choice.content = content;
  if (styles.every(Boolean)) {
    choice.styles = styles;
    find("blend").checked = styles.length > 1;
    styles.forEach((style, index) => (choice.weights[style.id] = job.settings.weights[index] ?? 1));
    setMasks(job.sources.masks);
  }
  setSettings(job.settings);
  showChosen();
  follow(id);
}

// One stream is for all jobs; the server ends it when none is active.
function listenForEvents() {
  events = new EventSource("api/events");
  events.onmessage = (message) => {
    const update = JSON.parse(message.data);
    const before = jobs.get(update.id);
    take(update);
    if (shown === update.id) showJob(jobs.get(update.id));
    if (before?.status !== update.status || before?.preview !== update.preview) listJobs();
    if ([...jobs.values()].some(isActive)) return;
    events.close();
    events = null;
  };
  events.onerror = () => {
    if (events?.readyState === EventSource.CLOSED) events = null; // else it tries again by itself
  };
}

export async function act(what, body) {
  complain(null);
  const from = jobs.get(shown);
  try {
    start(await ask("POST", `api/jobs/${shown}/${what}`, body), from.photo);
  } catch (error) {
    complain(error);
  }
}

async function remove(id) {
  complain(null);
  try {
    if (!jobs.get(id).is_lost) await ask("POST", `api/jobs/${id}/delete`);
    jobs.delete(id);
    if (shown === id) document.dispatchEvent(new CustomEvent("chosen"));
    listJobs();
  } catch (error) {
    complain(error);
  }
}

// The server has ended: what was copied is shown and downloaded from here.
export function useCopies() {
  for (const job of jobs.values()) job.kept = job.copies;
  if (shown && jobs.has(shown)) showJob(jobs.get(shown));
  listJobs();
}

// The server was started again and has none of them: what was painted is shown from what is here.
export function loseAll() {
  events?.close();
  events = null;
  for (const job of jobs.values()) Object.assign(job, { is_lost: true, kept: job.copies || {}, picture: Boolean(job.copies) });
  for (const [id, job] of jobs) if (!job.copies && id !== shown) jobs.delete(id);
  if (shown && jobs.has(shown)) showJob(jobs.get(shown));
  listJobs();
}

export function catchUp(known) {
  for (const job of known) take(job);
  if (shown && jobs.has(shown)) follow(shown);
}

function listJobs() {
  const list = [...jobs.values()].reverse();
  find("recent").hidden = !list.length;
  find("jobs").replaceChildren(...list.map(item));
}

function item(job) {
  const names = job.names.map((name) => name.replace("sample:", "").replace("_", " ")).join(" × ");
  const button = element("button", { type: "button", title: names });
  button.setAttribute("aria-label", `${names}, ${word(job)}`);
  button.setAttribute("aria-current", job.id === shown);
  if (job.preview) button.append(element("img", { alt: "", src: job.kept?.preview || `api/jobs/${job.id}/preview?${job.preview}` }));
  if (job.status !== "complete") button.append(element("i", { textContent: word(job) }));
  button.addEventListener("click", () => bringBack(job.id));
  const made = element("li", {}, button);
  if (!isActive(job)) {
    const gone = element("button", { type: "button", className: "remove", textContent: "×", title: `Delete ${names}` });
    gone.setAttribute("aria-label", `Delete ${names}`);
    gone.addEventListener("click", () => remove(job.id));
    made.append(gone);
  }
  return made;
}
