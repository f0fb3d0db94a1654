// What can be done with a finished picture: copied, painted larger, and watched as it came about.
import { ask, complain, element, find, listen } from "./common.js";
import { paintedAtOnce, repaint } from "./instant.js";
import { act, shownJob, start } from "./jobs.js";

async function copyText() {
  const code = find("command");
  getSelection().selectAllChildren(code); // also what there is to copy by hand where the clipboard is closed
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    document.execCommand("copy");
  }
  confirm(find("copy"), "Copied");
}

async function copyPicture() {
  try {
    const png = fetch(find("download").href).then((answer) => answer.blob());
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
    confirm(find("copy-picture"), "Copied");
  } catch {
    complain(new Error("the browser does not let the picture onto the clipboard; download it."));
  }
}

function confirm(button, text) {
  const before = button.dataset.label || button.textContent;
  button.dataset.label = before;
  button.textContent = text;
  setTimeout(() => (button.textContent = before), 1500);
}

let timer = 0;
let frames = []; // images, decoded

// Formats that the server can write a time-lapse in.
export function offerLapses(formats) {
  find("lapse-save").replaceChildren(...formats.map((format) => element("a", { className: "button quiet", textContent: format === "webp" ? "WebP" : format.toUpperCase(), download: "" })));
  formats.forEach((format, index) => (find("lapse-save").children[index].dataset.format = format));
}

async function openLapse() {
  const job = shownJob();
  for (const link of find("lapse-save").children) link.href = `api/jobs/${job.id}/time-lapse.${link.dataset.format}`;
  frames = job.frames.map((number) => Object.assign(new Image(), { src: `api/jobs/${job.id}/frames/${number}` }));
  await Promise.all(frames.map((image) => image.decode().catch(() => {})));
  if (shownJob()?.id !== job.id) return;
  find("lapse-at").max = frames.length - 1;
  find("lapse").hidden = false;
  document.body.classList.add("lapsing");
  play();
}

function showFrame(index) {
  find("lapse-at").value = index;
  find("painting").src = frames[index].src;
}

function play() {
  clearInterval(timer);
  let index = 0;
  find("lapse-play").textContent = "Pause";
  timer = setInterval(() => {
    showFrame(index);
    index += 1;
    if (index === frames.length) pause();
  }, Math.max(60, 4000 / frames.length));
}

function pause() {
  clearInterval(timer);
  timer = 0;
  find("lapse-play").textContent = "Play";
}

function closeLapse() {
  if (find("lapse").hidden) return;
  pause();
  find("lapse").hidden = true;
  document.body.classList.remove("lapsing");
  const job = shownJob();
  if (job) find("painting").src = job.kept?.preview || `api/jobs/${job.id}/preview?${job.preview}`;
}

export function listenForResult() {
  find("stop").addEventListener("click", () => find("stop").getAttribute("aria-disabled") === "true" || act("stop"));
  find("continue").addEventListener("click", () => act("continue"));
  for (const button of [find("larger"), find("largest")]) button.addEventListener("click", () => act("larger", { size: Number(button.value) }));
  find("keep").addEventListener("click", async () => {
    const { address, photo } = paintedAtOnce();
    try {
      await start(ask("POST", `${address}/keep`), photo);
    } catch (error) {
      complain(error);
      if (error.status === 404) repaint(); // it was deleted, after an hour
    }
  });
  find("copy").addEventListener("click", copyText);
  find("copy-picture").addEventListener("click", copyPicture);
  find("time-lapse").addEventListener("click", openLapse);
  find("lapse-close").addEventListener("click", () => {
    closeLapse();
    find("time-lapse").focus();
  });
  listen("turned", closeLapse);
  find("lapse-play").addEventListener("click", () => (timer ? pause() : play()));
  find("lapse-at").addEventListener("input", () => {
    pause();
    showFrame(Number(find("lapse-at").value));
  });
}
