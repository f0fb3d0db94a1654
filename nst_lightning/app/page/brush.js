// The brush: which style is where, and which part of the photo is left as it is. Drawn with finger, pen or mouse.
import { ask, choice, element, find, tell } from "./common.js";
import { allowInstantStart } from "./options.js";
import { bringIntoView } from "./viewer.js";

const LONGEST = 512; // pixels of a mask's long side
const KEPT = "kept"; // layer of what stays the photo
const COLORS = ["#b07cff", "#ff5a4f", "#3fa7ff", "#4fd18b", "#f4c95d"]; // of the photo, and of the second style and further
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const drawn = new WeakMap(); // photo: its layers
const files = new Map(); // id of a mask: its file, which the next program does not have
let brush = KEPT; // layer that is drawn into; "" for the first style, which has what the others leave
let width = 0.08; // of the long side
let last = null; // the pointer's last place
let cursor = [0.5, 0.5]; // where the keyboard paints

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

// What is painted is seen again, wherever the focus is.
export function endBrushing() {
  if (isBrushing()) open(false, document.activeElement.closest("#brushes, #mask") !== null);
}

function open(isOpen, isFocused = true) {
  find("brushes").hidden = !isOpen;
  find("brush-open").setAttribute("aria-pressed", isOpen);
  document.body.classList.toggle("brushing", isOpen);
  if (isOpen) offerBrushes();
  showMask();
  if (isOpen) {
    find("mask").focus({ preventScroll: true });
    bringIntoView();
  } else if (isFocused) find("brush-open").focus();
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
  done.addEventListener("click", () => open(false));
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
  strokeTo([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
}

function endStroke() {
  last = null;
  tell("chosen");
}

function onKey(event) {
  const by = ARROWS[event.key], isDab = [" ", "Enter"].includes(event.key);
  if ((!by && !isDab) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (by) {
    const sides = [find("mask").width, find("mask").height];
    cursor = cursor.map((at, axis) => Math.min(1, Math.max(0, at + (by[axis] * width * LONGEST) / 2 / sides[axis]))); // half its width
    showMask();
  } else if (!event.repeat) {
    strokeTo(cursor);
    endStroke();
  }
}

function strokeTo(at) {
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
  if (!shown.matches(":focus-visible")) return;
  for (const [color, wider] of [["#000", 0], ["#fff", 2]]) {
    pen.beginPath();
    pen.arc(cursor[0] * wide, cursor[1] * high, (width * LONGEST) / 2 + wider, 0, 7);
    pen.lineWidth = 2;
    pen.strokeStyle = color;
    pen.stroke();
  }
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
  const masks = await Promise.all(choice.styles.map((_, index) => maskOf(index)));
  const ids = [];
  for (const [index, file] of masks.entries()) {
    const headers = { "x-name": `mask-${index + 1}.png`, "x-role": "mask" };
    const { id } = await ask("PUT", "api/pictures", file, headers);
    files.set(id, file);
    ids.push(id);
  }
  return ids;
}

export const keepMasks = (ids) => ids?.forEach(fileOf);

function fileOf(id) {
  if (!files.has(id)) {
    const file = fetch(`api/pictures/${id}/file`).then((answer) => (answer.ok ? answer.blob() : Promise.reject(answer)));
    file.catch(() => files.delete(id));
    files.set(id, file);
  }
  return files.get(id);
}

// Takes a job's masks for what was brushed, so that they can be changed.
export async function setMasks(ids) {
  const layers = layersOfPhoto(), styles = choice.styles;
  layers.asked = ids;
  const images = await Promise.all((ids || []).map(async (id) => createImageBitmap(await fileOf(id)))).catch(() => null);
  if (layers.asked !== ids) return; // other ones were asked for meanwhile
  layers.clear();
  images?.forEach((image, index) => {
    if (index) fromMask(layers, styles[index], image);
  });
  if (images?.length) fromMask(layers, KEPT, ...images);
  showMask();
  if (!images) throw new Error("what was brushed for this picture is not there any more; brush it again.");
}

function fromMask(layers, name, ...images) {
  const { width: wide, height: high } = images[0];
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
  layers.set(name, canvas);
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
  canvas.addEventListener("pointerup", endStroke);
  canvas.addEventListener("keydown", onKey);
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, showMask);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isBrushing()) return;
    event.stopPropagation();
    open(false);
  });
  document.addEventListener("chosen", () => {
    if (isBrushing() && !document.activeElement?.closest("#brushes")) offerBrushes();
    showMask(); // that of another photo is another
  });
}
