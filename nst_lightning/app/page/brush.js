// The brush: which style is where, and which part of the photo is left as it is. Drawn with finger, pen or mouse.
import { ask, choice, element, find, tell } from "./common.js";
import { allowInstantStart } from "./options.js";

const LONGEST = 512; // pixels of a mask's long side
const KEPT = "kept"; // layer of what stays the photo
const COLORS = ["#b07cff", "#ff5a4f", "#3fa7ff", "#4fd18b", "#f4c95d"]; // of the photo, and of the second style and further
const drawn = new WeakMap(); // photo: its layers
let brush = KEPT; // layer that is drawn into; "" for the first style, which has what the others leave
let width = 0.08; // of the long side
let last = null; // the pointer's last place

// Returns the chosen photo's layers by style, or KEPT: canvases whose opacity is the mask.
function layersOfPhoto() {
  const photo = choice.content || drawn;
  if (!drawn.has(photo)) drawn.set(photo, new Map());
  return drawn.get(photo);
}

const names = () => [KEPT, ...choice.styles.slice(1)];
const used = () => names().filter((name) => layersOfPhoto().get(name)?.isDrawn);
export const hasMasks = () => used().length > 0;
export const isBrushing = () => !find("brushes").hidden;

function layer(name) {
  if (!layersOfPhoto().has(name)) {
    const shape = choice.content?.shape || 4 / 3;
    const [wide, high] = [LONGEST * Math.min(1, shape), LONGEST * Math.min(1, 1 / shape)].map(Math.round);
    layersOfPhoto().set(name, element("canvas", { width: wide, height: high }));
  }
  return layersOfPhoto().get(name);
}

function open(isOpen) {
  find("brushes").hidden = !isOpen;
  find("brush-open").setAttribute("aria-pressed", isOpen);
  document.body.classList.toggle("brushing", isOpen);
  if (isOpen) offerBrushes();
  showMask();
}

function offerBrushes() {
  const kinds = [["Keep the photo", KEPT, COLORS[0]], ...choice.styles.map((style, index) => [style.name, index ? style : "", index ? COLORS[index] : ""])];
  if (!kinds.some(([, name]) => name === brush)) brush = KEPT;
  const chips = kinds.map(([label, name, color]) => {
    const input = element("input", { type: "radio", name: "brush", checked: name === brush });
    input.addEventListener("change", () => (brush = name));
    const swatch = element("b");
    swatch.style.background = color || "none";
    return element("label", {}, input, element("span", {}, swatch, label));
  });
  const size = element("input", { type: "range", min: 0.02, max: 0.25, step: 0.01, value: width });
  size.setAttribute("aria-label", "Width of the brush");
  size.addEventListener("input", () => (width = Number(size.value)));
  const all = element("button", { type: "button", className: "quiet", textContent: "Fill" });
  all.addEventListener("click", () => draw((pen, canvas) => pen.fillRect(0, 0, canvas.width, canvas.height)));
  const clear = element("button", { type: "button", className: "quiet", textContent: "Clear" });
  clear.addEventListener("click", clearMasks);
  const done = element("button", { type: "button", className: "quiet", textContent: "Done" });
  done.addEventListener("click", () => {
    open(false);
    find("brush-open").focus();
  });
  find("brushes").replaceChildren(element("div", { className: "chips" }, ...chips), size, all, clear, done);
}

export function clearMasks() {
  layersOfPhoto().clear();
  showMask();
  tell("chosen");
}

// Draws into the layer of the brush, and out of all others.
function draw(put) {
  for (const name of names()) {
    const canvas = layer(name), pen = canvas.getContext("2d");
    const isOwn = name === brush;
    if (!isOwn && !canvas.isDrawn) continue;
    pen.globalCompositeOperation = isOwn ? "source-over" : "destination-out";
    pen.fillStyle = pen.strokeStyle = "#fff";
    put(pen, canvas);
    canvas.isDrawn ||= isOwn;
  }
  showMask();
}

function stroke(event) {
  const box = find("stage").getBoundingClientRect();
  const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const from = last || at;
  last = at;
  draw((pen, canvas) => {
    pen.lineCap = "round";
    pen.lineWidth = width * LONGEST;
    pen.beginPath();
    pen.moveTo(from[0] * canvas.width, from[1] * canvas.height);
    pen.lineTo(at[0] * canvas.width + 0.01, at[1] * canvas.height);
    pen.stroke();
  });
}

function showMask() {
  const shown = find("mask");
  shown.hidden = !isBrushing();
  find("mask-state").textContent = hasMasks() ? "brushed" : "";
  allowInstantStart(!hasMasks());
  if (shown.hidden) return;
  const { width: wide, height: high } = layer(KEPT);
  Object.assign(shown, { width: wide, height: high });
  const pen = shown.getContext("2d");
  names().forEach((name, index) => {
    const tint = element("canvas", { width: wide, height: high }), ink = tint.getContext("2d");
    ink.drawImage(layer(name), 0, 0, wide, high);
    ink.globalCompositeOperation = "source-in";
    ink.fillStyle = COLORS[index];
    ink.fillRect(0, 0, wide, high);
    pen.drawImage(tint, 0, 0);
  });
}

// Returns a mask's file: white where the style at this index is to be, which is somewhere.
async function maskOf(index) {
  const { width: wide, height: high } = layer(KEPT);
  const canvas = element("canvas", { width: wide, height: high }), pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = index ? "#000" : "#fff";
  pen.fillRect(0, 0, wide, high);
  for (const name of index ? [choice.styles[index]] : names()) {
    const ink = element("canvas", { width: wide, height: high }), inks = ink.getContext("2d");
    inks.drawImage(layer(name), 0, 0, wide, high);
    inks.globalCompositeOperation = "source-in";
    inks.fillStyle = index ? "#fff" : "#000";
    inks.fillRect(0, 0, wide, high);
    pen.drawImage(ink, 0, 0);
  }
  if (!pen.getImageData(0, 0, wide, high).data.some((value, at) => at % 4 === 0 && value > 127)) {
    const { name } = choice.styles[index];
    const remedy = choice.styles.length > 1 ? "or take it out of the blend" : "so that something is painted";
    throw new Error(index ? `brush over where ${name} is to be, ${remedy}.` : `nothing is left for ${name}: clear some of the brush, ${remedy}.`);
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// Sends the masks and returns their ids, or null if there are none.
export async function sendMasks() {
  if (!hasMasks()) return null;
  const files = await Promise.all(choice.styles.map((_, index) => maskOf(index)));
  const ids = [];
  for (const [index, file] of files.entries()) {
    const headers = { "x-name": `mask-${index + 1}.png`, "x-role": "mask" };
    ids.push((await ask("PUT", "api/pictures", file, headers)).id);
  }
  return ids;
}

// Takes a job's masks for what was brushed, so that they can be changed.
export async function setMasks(ids) {
  layersOfPhoto().clear();
  if (ids?.length) {
    const images = ids.map((id) => Object.assign(new Image(), { src: `api/pictures/${id}/file` }));
    await Promise.all(images.map((image) => image.decode())).catch(() => (images.length = 0));
    images.forEach((image, index) => {
      if (index) fromMask(choice.styles[index], image);
    });
    if (images.length) fromMask(KEPT, ...images);
  }
  showMask();
}

function fromMask(name, ...images) {
  const { naturalWidth: wide, naturalHeight: high } = images[0];
  const canvas = element("canvas", { width: wide, height: high }), pen = canvas.getContext("2d");
  pen.globalCompositeOperation = "lighter";
  for (const image of images) pen.drawImage(image, 0, 0, wide, high);
  const pixels = pen.getImageData(0, 0, wide, high);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const value = name === KEPT ? 255 - pixels.data[at] : pixels.data[at];
    pixels.data.set([255, 255, 255, value], at);
    canvas.isDrawn ||= value > 127;
  }
  pen.putImageData(pixels, 0, 0);
  layersOfPhoto().set(name, canvas);
}

export const keptMasks = () => used().map((name) => [name.id ?? name, layersOfPhoto().get(name).toDataURL()]);

export async function restoreMasks(kept) {
  for (const [id, address] of kept || []) {
    const name = names().find((each) => (each.id ?? each) === id);
    if (!name) continue;
    const bytes = Uint8Array.from(atob(address.split(",")[1]), (letter) => letter.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = element("canvas", { width: image.width, height: image.height, isDrawn: true });
    canvas.getContext("2d").drawImage(image, 0, 0);
    layersOfPhoto().set(name, canvas);
  }
  showMask();
}

export function listenForBrush() {
  const canvas = find("mask");
  find("brush-open").addEventListener("click", () => open(!isBrushing()));
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) for (const each of event.getCoalescedEvents?.() || [event]) stroke(each);
  });
  canvas.addEventListener("pointerup", () => {
    last = null;
    tell("chosen");
  });
  document.addEventListener("chosen", () => {
    if (isBrushing() && !document.activeElement?.closest("#brushes")) offerBrushes();
    showMask(); // that of another photo is another
  });
}
