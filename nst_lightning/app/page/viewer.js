// The viewer: the photo and the painting that are shown, and how far it is.
import { choice, element, find, server } from "./common.js";
import { divide, offerDivider } from "./divider.js";
import { describe, isActive, numbers } from "./messages.js";

let wanted = ""; // address of the painting that is shown, or is coming

// What is shown: {photo, painting: address or "", headline, detail, job: if it is one, command, file, picture: address
// of the result, is_moving: whether the next is expected soon}
export function show(view) {
  const { photo, job } = view, focused = document.activeElement;
  if (photo) {
    if (find("photo").getAttribute("src") !== photo.url) find("photo").src = photo.url;
    if (photo.shape) setShape(photo.shape);
  }
  const wasFirst = document.body.dataset.view === "first";
  document.body.dataset.view = view.kind || (isActive(job) ? (job.status === "waiting" ? "waiting" : "painting") : "done");
  document.body.classList.toggle("coming", Boolean(view.is_moving));
  showPainting(view);
  if (wasFirst && view.kind !== "first") divide(0); // the painting alone, to begin with
  find("headline").textContent = view.headline;
  find("detail").textContent = view.detail;
  document.title = isActive(job) ? `${view.headline} – Paint a photo` : "Paint a photo";
  showBar(job);
  announce(view);
  find("stop").hidden = !isActive(job);
  find("stop").textContent = job?.status === "waiting" ? "Cancel" : "Stop here";
  find("stop").setAttribute("aria-disabled", job?.status === "stopping"); // `disabled` would take the focus away
  for (const [id, format] of [["download", ""], ["download-jpeg", "jpeg"]]) {
    find(id).hidden = !view.picture || (format && view.picture.startsWith("blob:"));
    if (find(id).hidden) continue;
    find(id).href = format ? `${view.picture}?${format}` : view.picture;
    find(id).download = format ? view.file.replace(/\.png$/, ".jpg") : view.file;
  }
  find("copy-picture").hidden = !view.picture || !navigator.clipboard?.write;
  find("keep").hidden = view.kind !== "instant" || !view.picture;
  find("time-lapse").hidden = !job || isActive(job) || job.is_lost || job.frames.length < 2;
  const sizes = largerThan(job || view.settings);
  for (const [index, name] of ["larger", "largest"].entries()) {
    const button = find(name), size = sizes[index];
    button.hidden = !view.picture || !size || isActive(job) || Boolean(job?.is_lost);
    button.textContent = `Paint this larger: ${size}`;
    button.value = size || "";
  }
  find("continue").hidden = !job || isActive(job) || job.is_lost || (job.is_instant && job.status === "complete");
  find("continue").textContent = job?.status === "complete" ? "Paint on for longer" : job?.picture ? "Continue" : "Try again";
  find("command-line").hidden = !view.command;
  showCommand(view.command || "");
  find("numbers").textContent = job ? numbers(job) : "";
  find("numbers").hidden = !find("numbers").textContent;
  showMasks(job);
  if (focused?.hidden && focused.closest("#actions")) (find("actions").querySelector(":scope > :not([hidden])") || find("frame")).focus();
}

export function showJob(job) {
  const [headline, detail] = describe(job);
  const kept = job.kept || {};
  show({
    photo: job.photo,
    painting: kept.preview || (job.preview ? `api/jobs/${job.id}/preview?${job.preview}` : ""),
    headline,
    detail,
    job,
    command: job.command,
    file: job.file,
    picture: kept.picture || (job.picture ? `api/jobs/${job.id}/picture` : ""),
  });
}

// On a narrow screen the viewer is above the settings, out of sight from where most of them are.
export function bringIntoView() {
  if (!matchMedia("(max-width: 900px), (max-height: 599px)").matches) return;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  find("frame").scrollIntoView({ behavior: isCalm ? "instant" : "smooth", block: "start" });
  if (!isCalm) finishScroll();
}

// What changes on the page meanwhile may move a smooth scroll's end or stop it on its way: what is missing is done at
// once, unless the visitor has scrolled.
function finishScroll() {
  const waiting = new AbortController(), { signal } = waiting;
  const end = () => waiting.abort();
  setTimeout(end, 3000);
  for (const type of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(type, end, { signal, passive: true });
  addEventListener("scrollend", () => {
    end();
    find("frame").scrollIntoView({ behavior: "instant", block: "start" });
  }, { signal });
}

function largerThan(given) {
  const size = given?.settings?.size ?? given?.size;
  return [1024, 2048].filter((each) => each > size && each <= server.limits.size);
}

// Lines are broken between words, not at the hyphens of options; what is copied is the command as it is.
function showCommand(command) {
  if (find("command").textContent === command) return;
  const words = command.split(/( )/).map((word) => (word === " " ? word : element("span", { textContent: word, className: word.length < 40 ? "whole" : "" })));
  find("command").replaceChildren(...words);
}

function showMasks(job) {
  const masks = job?.sources.masks || [];
  find("masks-note").hidden = !masks.length || job.is_lost;
  const links = masks.map((id, index) => Object.assign(document.createElement("a"), { href: `api/pictures/${id}/file`, download: `mask-${index + 1}.png`, textContent: `mask-${index + 1}.png` }));
  find("masks-note").replaceChildren("It reads ", ...links.flatMap((link, index) => (index ? [", ", link] : [link])), ".");
}

function setShape(shape) {
  find("canvas").style.setProperty("--shape", shape);
}

function showPainting(view) {
  const painting = find("painting");
  if (!view.painting && view.is_moving) return; // the one before stays while this one's comes
  // What is there of another one is not left standing otherwise.
  if (!view.painting || (view.job && !wanted.includes(view.job.id))) painting.hidden = true;
  if (!view.painting) offerDivider(false);
  if (wanted === view.painting) return;
  wanted = view.painting;
  if (!wanted) return;
  // Decoded before it is shown: no flicker between two states.
  const next = new Image();
  next.src = wanted;
  next.decode().then(() => {
    if (wanted !== view.painting) return;
    if (view.photo) setShape((view.photo.shape ||= next.naturalWidth / next.naturalHeight));
    painting.src = view.painting;
    if (painting.hidden && view.kind !== "first") divide(0);
    painting.hidden = false;
    offerDivider(true);
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
function announce({ job, headline, detail, kind, is_moving }) {
  // Every tenth of the way, and each change of status: a screen reader would talk without end otherwise.
  if (is_moving) return;
  const key = job ? `${job.id} ${job.status} ${job.position} ${Math.floor((job.progress?.fraction || 0) * 10)}` : `${kind} ${headline} ${[choice.content, ...choice.styles].map((one) => one?.id)}`;
  if (key === announced) return;
  announced = key;
  find("announcer").textContent = `${headline}. ${detail}`;
}
