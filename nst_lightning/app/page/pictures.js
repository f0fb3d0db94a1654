// The walls of photos and styles: samples, and what the visitor brings by file, drop or clipboard.
import { ask, capital, choice, complain, element, find, ready, server, tell, Unreachable } from "./common.js";

const CANVAS = 16e6; // pixels that a canvas has in any browser
const ROLES = ["content", "style"];
const walls = { content: new Map(), style: new Map() }; // id: picture, also under ids that earlier programs gave it
const UNREADABLE = [413, 415]; // statuses of what the server will not take the next time either
let bringing = Promise.resolve();
let sending = 0; // pictures that are on their way

const isChosen = (role, id) => (role === "content" ? choice.content?.id === id : choice.styles.some((one) => one.id === id));
const asLabel = (names) => names.join(" + ");

export const findPicture = (role, id) => walls[role].get(id);

// Returns the answer to what is asked for the chosen pictures, of which the server may have deleted some: they were not
// used for long, and are sent once more.
export async function askFromSources(asking) {
  const sources = () => ({ content: choice.content.id, style: choice.styles.map((style) => style.id) });
  await ready();
  try {
    return await asking(sources());
  } catch (error) {
    if (error.status !== 404) throw error;
    await renewChosen();
    return asking(sources());
  }
}

async function renewChosen() {
  const { pictures } = await ask("GET", "api/state");
  for (const [role, picture] of [["content", choice.content], ...choice.styles.map((style) => ["style", style])]) {
    if (picture.id.startsWith("sample:") || pictures.some(({ id }) => id === picture.id)) continue;
    await picture.keeping;
    if (!picture.file) throw new Error(`${picture.name} is not there any more; bring it once more.`);
    renew(role, picture, await send(role, picture.file));
  }
}

export function choose(role, picture, isAdded = role === "style" && find("blend").checked) {
  if (role === "content") choice.content = picture;
  else if (!isAdded) choice.styles = [picture];
  else if (!isChosen(role, picture.id)) choice.styles = [...choice.styles, picture].slice(-server.limits.styles);
  else if (choice.styles.length > 1) choice.styles = choice.styles.filter((one) => one.id !== picture.id);
  showChosen();
  tell("chosen");
}

export function showChosen() {
  for (const role of ROLES) {
    for (const tile of find(`${role}-tiles`).querySelectorAll("button")) tile.setAttribute("aria-pressed", isChosen(role, tile.dataset.id));
    const chosen = role === "content" ? [choice.content] : choice.styles;
    find(`${role}-name`).textContent = asLabel(chosen.filter(Boolean).map((one) => one.label));
    find(`${role}-name`).title = find(`${role}-name`).textContent;
  }
  showWeights();
}

function showWeights() {
  const box = find("weights");
  box.hidden = choice.styles.length < 2;
  box.replaceChildren(
    ...(box.hidden ? [] : choice.styles).map((style, index) => {
      const slider = element("input", { type: "range", id: `weight-${index}`, min: 0, max: 4, step: 0.25, value: choice.weights[style.id] ?? 1 });
      const label = element("label", { htmlFor: slider.id, textContent: style.name });
      const output = element("output", { htmlFor: slider.id });
      const show = () => (output.textContent = share(style));
      slider.addEventListener("input", () => {
        choice.weights[style.id] = Number(slider.value);
        for (const [other, shown] of choice.styles.map((one, at) => [one, box.children[at].querySelector("output")])) shown.textContent = share(other);
        tell("chosen", { isMoving: true });
      });
      slider.addEventListener("change", () => tell("chosen"));
      show();
      return element("div", { className: "slider" }, label, output, slider);
    }),
  );
}

export const weightOf = (style) => choice.weights[style.id] ?? 1;
function share(style) {
  const sum = choice.styles.reduce((total, one) => total + weightOf(one), 0);
  return sum ? `${Math.round((100 * weightOf(style)) / sum)} %` : "–";
}

export function addPicture(role, picture) {
  walls[role].set(picture.id, picture);
  const image = element("img", { alt: capital(picture.name), src: picture.tile ?? picture.url });
  const tile = element("button", { type: "button", className: "tile", title: capital(picture.name) }, image);
  tile.dataset.id = picture.id;
  tile.setAttribute("aria-pressed", "false");
  image.addEventListener("load", () => (picture.shape ||= image.naturalWidth / image.naturalHeight));
  tile.addEventListener("click", () => {
    complain(null);
    choose(role, walls[role].get(picture.id) || picture);
  });
  const wall = find(`${role}-tiles`);
  if (picture.id.startsWith("sample:")) wall.append(tile);
  else wall.firstElementChild.after(tile); // what is one's own comes first
  return picture;
}

export function addSample({ name, is_style }) {
  const label = name.replace("_", " ");
  addPicture(is_style ? "style" : "content", { id: `sample:${name}`, name: label, label: `sample: ${label}`, url: `samples/${name}.jpg`, tile: `samples/${name}.jpg?small`, shape: 0 });
}

export function addUpload(upload, file, isDrawnAnew = false) {
  const picture = {
    id: upload.id,
    name: upload.name,
    label: `${upload.name}, ${isDrawnAnew ? "sent as " : ""}${upload.width}×${upload.height}`,
    url: `api/pictures/${upload.id}`,
    shape: upload.width / upload.height,
    file,
  };
  if (!file) picture.keeping = keepFile(picture);
  return addPicture(upload.role, picture);
}

// Adds what another tab has brought.
export function addUnknown(pictures) {
  if (sending) return; // one of them may be what is on its way from here
  for (const upload of pictures) if (upload.role !== "mask" && !walls[upload.role].has(upload.id)) addUpload(upload);
}

// Keeps the file of what was brought before the page was loaded, so that the next server can be given it.
async function keepFile(picture) {
  try {
    const answer = await fetch(`${picture.url}/file`);
    if (answer.ok) picture.file = new File([await answer.blob()], picture.name);
  } catch {
    // the server has ended meanwhile
  }
}

// What is larger than the server takes is made smaller here, and what it can't read, but this browser can, is drawn
// anew. What the browser can't read either is left to the server to refuse.
async function fitting(file) {
  const image = new Image(), address = URL.createObjectURL(file);
  try {
    image.src = address;
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    const { naturalWidth: wide, naturalHeight: high } = image;
    const isLarge = wide * high > server.limits.pixels || file.size > server.limits.bytes;
    if (!(isLarge || /\.hei[cf]$/i.test(file.name))) return file;
    const factor = Math.sqrt(Math.min(1, Math.min(server.limits.pixels, CANVAS) / (wide * high)));
    const canvas = element("canvas", { width: Math.floor(wide * factor) || 1, height: Math.floor(high * factor) || 1 });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff"; // what is transparent is on white here as everywhere
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
    return new File([blob], file.name, { type: blob.type });
  } catch {
    return file;
  } finally {
    URL.revokeObjectURL(address);
  }
}

export async function send(role, file) {
  if (file.size > server.limits.bytes) {
    throw new Error(`the file ${file.name} has ${(file.size / 1e6).toFixed(0)} MB; a picture’s file may have ${server.limits.bytes / 1e6} MB at most.`);
  }
  sending += 1;
  try {
    return await ask("PUT", "api/pictures", file, { "x-name": encodeURIComponent(file.name), "x-role": role });
  } finally {
    sending -= 1;
  }
}

// Returns the picture that has this file already.
async function findSame(role, file) {
  const bytes = async (one) => new Uint8Array(await one.arrayBuffer());
  for (const picture of new Set(walls[role].values())) {
    if (picture.name !== file.name) continue;
    await picture.keeping;
    if (picture.file?.size !== file.size) continue;
    const [own, other] = await Promise.all([bytes(picture.file), bytes(file)]);
    if (own.every((byte, at) => byte === other[at])) return picture;
  }
  return null;
}

// The bytes themselves: the file on the disk may be changed or deleted, now or while the page is open.
async function readWhole(file) {
  try {
    return new File([await file.arrayBuffer()], file.name, { type: file.type });
  } catch {
    throw new Error(`the file ${file.name} can’t be read: it was changed, moved or deleted meanwhile, or is a folder; bring it once more.`);
  }
}

// One after the other: what is brought twice is compared with the first.
function bring(role, file) {
  if (!file) return;
  const reading = readWhole(file);
  bringing = Promise.allSettled([bringing, reading]).then(() => bringNext(role, reading));
}

async function bringNext(role, reading) {
  complain(null);
  const add = find(`${role}-tiles`).firstElementChild;
  add.classList.add("busy");
  try {
    const file = await reading;
    const fitted = await fitting(file);
    const same = await findSame(role, fitted);
    if (!same) choose(role, addUpload(await send(role, fitted), fitted, fitted !== file));
    else {
      const { pictures } = await ask("GET", "api/state");
      if (!pictures.some(({ id }) => id === same.id)) renew(role, same, await send(role, fitted)); // long unused ones are deleted
      if (isChosen(role, same.id)) tell("chosen");
      else choose(role, same);
    }
  } catch (error) {
    complain(error);
  } finally {
    add.classList.remove("busy");
  }
}

// Takes a picture's new id; by the one before it is found still.
function renew(role, picture, { id }) {
  find(`${role}-tiles`).querySelector(`[data-id="${CSS.escape(picture.id)}"]`).dataset.id = id;
  if (picture.id in choice.weights) choice.weights[id] = choice.weights[picture.id];
  Object.assign(picture, { id, url: `api/pictures/${id}` });
  walls[role].set(id, picture);
}

// The server was started again: it is given what the visitor brought once more.
export async function bringAgain() {
  const lost = [];
  for (const role of ROLES) {
    for (const picture of new Set(walls[role].values())) {
      if (picture.id.startsWith("sample:")) continue;
      try {
        await picture.keeping;
        if (!picture.file) throw new Error("brought before the page was loaded");
        renew(role, picture, (await broughtByAnotherTab(role, picture)) || (await send(role, picture.file)));
      } catch (error) {
        // It has ended again, or has no room now: they are sent when they are needed.
        if (error instanceof Unreachable || (error.status && !UNREADABLE.includes(error.status))) continue;
        find(`${role}-tiles`).querySelector(`[data-id="${CSS.escape(picture.id)}"]`).remove();
        for (const [id, one] of walls[role]) if (one === picture) walls[role].delete(id);
        lost.push(picture.name);
      }
    }
  }
  if (!walls.content.has(choice.content?.id)) choice.content = walls.content.values().next().value;
  choice.styles = choice.styles.filter((style) => walls.style.has(style.id));
  if (!choice.styles.length) choice.styles = [walls.style.values().next().value];
  if (choice.styles.length < 2) find("blend").checked = false;
  showChosen();
  if (!lost.length) return;
  complain(new Error(`not there any more: ${lost.join(", ")}; bring ${lost.length > 1 ? "them" : "it"} once more.`));
  tell("chosen");
}

// Of two tabs that were open one has sent it already.
async function broughtByAnotherTab(role, picture) {
  const { pictures } = await ask("GET", "api/state");
  return pictures.find((one) => one.role === role && one.name === picture.name && one.bytes === picture.file.size && !walls[role].has(one.id));
}

export function listenForPictures() {
  for (const role of ROLES) {
    const input = find(`${role}-file`);
    input.addEventListener("change", () => {
      bring(role, input.files[0]);
      input.value = ""; // at once, so that none that is chosen next is taken away with it
    });
    const place = input.closest("fieldset");
    place.addEventListener("dragover", () => place.classList.add("over"));
    place.addEventListener("dragleave", () => place.classList.remove("over"));
    place.addEventListener("drop", (event) => {
      place.classList.remove("over");
      bring(role, event.dataTransfer.files[0]);
    });
  }
  find("frame").addEventListener("drop", (event) => bring("content", event.dataTransfer.files[0]));
  // An image that misses its place must not take the page's.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) bring(choice.content && !choice.content.id.startsWith("sample:") ? "style" : "content", file);
  });
  find("blend").addEventListener("change", () => {
    if (find("blend").checked || choice.styles.length < 2) return;
    choose("style", choice.styles[0], false);
  });
}
