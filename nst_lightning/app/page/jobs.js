// The visitor's jobs: started, followed by the server's events, listed.
import { ask, complain, find, server, sources } from "./common.js";
import { show } from "./viewer.js";
import { options } from "./options.js";
import { isActive } from "./messages.js";

const jobs = new Map(); // id: what the server sent last, and the photo it was painted from
let shown = null; // id of the job in the viewer
let events = null;

// Without a job that is being painted in the viewer, what is chosen is shown there.
export function showChosen() {
  if (isActive(jobs.get(shown))) return;
  shown = null;
  show(null);
  listJobs();
}

export async function paint(event) {
  event.preventDefault();
  complain(null);
  find("paint").disabled = true;
  try {
    const job = await ask("POST", "api/jobs", JSON.stringify(options()), { "content-type": "application/json" });
    take(job, sources.content);
    follow(job.id);
    if (matchMedia("(max-width: 900px)").matches) find("frame").scrollIntoView({ behavior: "smooth" });
  } catch (error) {
    complain(error);
  } finally {
    find("paint").disabled = false;
  }
}

export function take(job, photo) {
  jobs.set(job.id, { ...job, photo: photo || jobs.get(job.id)?.photo || { url: `api/jobs/${job.id}/photo` } });
  // The server forgets the oldest finished ones as well.
  const finished = [...jobs.values()].filter((one) => !isActive(one) && one.id !== job.id);
  for (const one of finished.slice(0, Math.max(0, jobs.size - server.limits.kept))) jobs.delete(one.id);
}

export function follow(id) {
  shown = id;
  show(jobs.get(id));
  listJobs();
  if (!events && [...jobs.values()].some(isActive)) listen();
}

// One stream is for all jobs; the server ends it when none is active.
function listen() {
  events = new EventSource("api/events");
  events.onmessage = (message) => {
    const update = JSON.parse(message.data);
    const before = jobs.get(update.id);
    take(update);
    if (shown === update.id) show(jobs.get(update.id));
    if (before?.status !== update.status || before?.preview !== update.preview) listJobs();
    if ([...jobs.values()].some(isActive)) return;
    events.close();
    events = null;
  };
  events.onerror = () => {
    if (events?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    events = null;
    complain(new Error("the connection is lost; load the page again."));
  };
}

export async function act(what) {
  complain(null);
  try {
    take(await ask("POST", `api/jobs/${shown}/${what}`));
    follow(shown);
  } catch (error) {
    complain(error);
  }
}

function listJobs() {
  const list = [...jobs.values()].reverse();
  find("recent").hidden = list.every((job) => job.id === shown);
  find("jobs").replaceChildren(
    ...list.map((job) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const names = job.names.map((name) => name.replace("sample:", "").replace("_", " ")).join(" × ");
      button.type = "button";
      button.title = names;
      button.setAttribute("aria-label", `${names}, ${job.status}`);
      button.setAttribute("aria-current", job.id === shown);
      if (job.preview) {
        const image = new Image();
        image.alt = "";
        image.src = `api/jobs/${job.id}/preview?${job.preview}`;
        button.append(image);
      }
      if (job.status !== "complete") {
        const note = document.createElement("i");
        note.textContent = job.status;
        button.append(note);
      }
      button.addEventListener("click", () => follow(job.id));
      item.append(button);
      return item;
    }),
  );
}
