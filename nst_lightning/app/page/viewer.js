// The viewer: the image that is shown, how far it is, and what can be done with it.
import { find, sources } from "./common.js";
import { describe, isActive } from "./messages.js";

// Shows a job, or without one what is going to be painted.
export function show(job) {
  const photo = job ? job.photo : sources.content;
  if (photo) {
    if (find("photo").getAttribute("src") !== photo.url) find("photo").src = photo.url;
    find("canvas").style.setProperty("--shape", photo.shape || 4 / 3);
  }
  const view = !job ? "idle" : job.status === "waiting" ? "waiting" : isActive(job) ? "painting" : "done";
  document.body.dataset.view = view;
  showPainting(job);
  const [headline, detail] = describe(job);
  find("headline").textContent = headline;
  find("detail").textContent = detail;
  find("caption").hidden = Boolean(job && job.preview);
  find("caption").textContent = job ? "The canvas is being prepared." : "This becomes a painting.";
  document.title = job && isActive(job) ? `${headline} – Paint a photo` : "Paint a photo";
  showBar(job);
  announce(job, headline, detail);
  find("paint").textContent = isActive(job) ? "Paint another" : "Paint";
  find("stop").hidden = !isActive(job);
  find("stop").textContent = job?.status === "waiting" ? "Cancel" : "Stop here";
  find("stop").disabled = job?.status === "stopping";
  find("download").hidden = !job?.picture;
  find("continue").hidden = !job || isActive(job) || (job.is_instant && job.status === "complete");
  find("continue").textContent = job?.status === "complete" ? "Paint on for longer" : job?.picture ? "Continue" : "Try again";
  find("compare").hidden = !job?.preview;
  if (job?.picture) {
    find("download").href = `api/jobs/${job.id}/picture`;
    find("download").download = job.file;
  }
  find("command-line").hidden = !job;
  find("command").textContent = job?.command || "";
}

function showPainting(job) {
  const painting = find("painting");
  const wanted = job?.preview ? `api/jobs/${job.id}/preview?${job.preview}` : "";
  // What is there of another job is not left standing while this one's comes.
  if (!wanted || !painting.dataset.wanted?.includes(job.id)) painting.hidden = true;
  if (!wanted) compare(false);
  if (painting.dataset.wanted === wanted) return;
  painting.dataset.wanted = wanted;
  if (!wanted) return;
  // Decoded before it is shown: no flicker between two states.
  const next = new Image();
  next.src = wanted;
  next.decode().then(() => {
    job.photo.shape ||= next.naturalWidth / next.naturalHeight;
    if (painting.dataset.wanted !== wanted) return;
    painting.src = wanted;
    painting.hidden = false;
    find("canvas").style.setProperty("--shape", job.photo.shape);
  }, () => {});
}

function showBar(job) {
  const bar = find("bar");
  bar.hidden = !isActive(job);
  const percent = Math.floor((job?.progress?.fraction || 0) * 100);
  find("fill").style.width = `${percent}%`;
  if (job?.status === "waiting") bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", percent);
}

let announced = "";
function announce(job, headline, detail) {
  // Every tenth of the way, and each change of status: a screen reader would talk without end otherwise.
  const key = job ? `${job.id} ${job.status} ${job.position} ${Math.floor((job.progress?.fraction || 0) * 10)}` : "";
  if (key === announced) return;
  announced = key;
  find("announcer").textContent = job ? `${headline}. ${detail}` : "";
}

export function compare(on) {
  find("canvas").classList.toggle("compared", on);
  find("compare").setAttribute("aria-pressed", on);
}
