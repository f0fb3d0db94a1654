// The two images: from a file, the clipboard or the samples. The document gets an event when one is `chosen`.
import { ask, capital, complain, find, server, sources } from "./common.js";

export function sourceOf(role) {
  const field = document.querySelector(`[data-role="${role}"]`);
  return {
    drop: field.querySelector(".drop"),
    input: field.querySelector("input"),
    image: field.querySelector("img"),
    hint: field.querySelector(".hint"),
    name: field.querySelector(".name"),
    samples: field.querySelector(".samples"),
  };
}

function choose(role, source) {
  sources[role] = source;
  const parts = sourceOf(role);
  parts.image.src = source.url;
  parts.image.hidden = false;
  parts.hint.innerHTML = "<b>Change</b>";
  parts.name.textContent = source.label;
  parts.name.title = source.label;
  for (const button of parts.samples.children) button.setAttribute("aria-pressed", button.dataset.id === source.id);
  document.dispatchEvent(new Event("chosen"));
}

async function upload(role, file) {
  complain(null);
  if (!file) return;
  const { drop } = sourceOf(role);
  drop.classList.add("busy");
  try {
    if (file.size > server.limits.bytes) {
      throw new Error(`${file.name} has ${(file.size / 1e6).toFixed(0)} MB; a picture’s file may have ${server.limits.bytes / 1e6} MB at most.`);
    }
    const image = await ask("PUT", "api/pictures", file, { "x-name": encodeURIComponent(file.name) });
    const label = `${image.name}, ${image.width}×${image.height}`;
    choose(role, { id: image.id, label, url: `api/pictures/${image.id}`, shape: image.width / image.height });
  } catch (error) {
    complain(error);
  } finally {
    drop.classList.remove("busy");
  }
}

export function offerSample(sample) {
  const role = sample.is_style ? "style" : "content";
  const button = document.createElement("button");
  const label = sample.name.replace("_", " ");
  button.type = "button";
  button.dataset.id = `sample:${sample.name}`;
  button.title = capital(label);
  button.innerHTML = `<img alt="${capital(label)}" src="samples/${sample.name}.jpg">`;
  button.addEventListener("click", () => {
    complain(null);
    const image = button.firstChild;
    choose(role, { id: button.dataset.id, label: `sample: ${label}`, url: image.src, shape: image.naturalWidth / image.naturalHeight });
  });
  sourceOf(role).samples.append(button);
  return button;
}

export function listenForImages() {
  for (const role of ["content", "style"]) {
    const { drop, input } = sourceOf(role);
    input.addEventListener("change", () => upload(role, input.files[0]).then(() => (input.value = "")));
    drop.addEventListener("dragover", () => drop.classList.add("over"));
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      drop.classList.remove("over");
      upload(role, event.dataTransfer.files[0]);
    });
  }
  find("frame").addEventListener("drop", (event) => upload("content", event.dataTransfer.files[0]));
  // An image that misses its place must not take the page's.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) upload(sources.content && !sources.content.id.startsWith("sample:") ? "style" : "content", file);
  });
}
