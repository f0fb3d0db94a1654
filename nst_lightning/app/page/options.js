// The settings: what the controls say, what they are set to, and how long painting by them will take.
import { choice, find, server, tell } from "./common.js";
import { weightOf } from "./pictures.js";
import { duration } from "./messages.js";

const SIZES = [256, 384, 512, 768, 1024, 1536, 2048];

const times = (factor) => (factor >= 10 ? factor.toFixed(0) : Number(factor.toPrecision(2)).toString());
const power = { read: (value) => 2 ** value, write: Math.log2, show: (value) => `× ${times(2 ** value)}` };
const SLIDERS = { strength: power, brush: power, smoothness: { read: (value) => value, write: (value) => value, show: String } };
const AT_ONCE = ["strength", "brush", "keep_colors", "sizes"]; // what a painting in one pass depends on

export function settings() {
  const form = find("controls");
  const given = {
    size: Number(form.elements.size.value),
    quality: form.elements.quality.value,
    keep_colors: find("keep_colors").checked,
    start: find("start").value,
    seed: Number(find("seed").value),
    weights: choice.styles.length > 1 ? choice.styles.map(weightOf) : [],
  };
  for (const [id, kind] of Object.entries(SLIDERS)) given[id] = kind.read(Number(find(id).value));
  return given;
}

export function setSettings(given) {
  for (const name of ["size", "quality"]) {
    const wanted = [...document.getElementsByName(name)].find((input) => input.value === String(given[name]));
    if (wanted) wanted.checked = true;
  }
  find("keep_colors").checked = Boolean(given.keep_colors);
  find("start").value = given.start ?? "instant";
  find("start").dataset.before = given.start ?? "instant";
  find("seed").value = given.seed ?? 0;
  for (const [id, kind] of Object.entries(SLIDERS)) {
    if (given[id] !== undefined) find(id).value = kind.write(given[id]);
    showValue(id);
  }
  showEstimate();
}

// With masks nothing starts from what is painted at once: what is kept must be the photo's. The choice says so.
export function allowInstantStart(isAllowed) {
  const start = find("start"), option = start.querySelector("[value=instant]");
  if (option.disabled === !isAllowed) return;
  option.disabled = !isAllowed;
  option.textContent = `what is painted at once${isAllowed ? "" : " (not with masks)"}`;
  if (!isAllowed) start.dataset.before = start.value;
  if (start.dataset.before === "instant") start.value = isAllowed ? "instant" : "content";
  showEstimate();
}

function showValue(id) {
  find(`${id}-value`).textContent = SLIDERS[id].show(Number(find(id).value));
  find(id).setAttribute("aria-valuetext", find(`${id}-value`).textContent);
}

// Steps times megapixels, as the server's schedule has them: levels √2 apart.
function work({ size, quality, start }, shape) {
  const { steps, first_steps, min_size } = server.steps[quality];
  const least = start === "instant" ? Math.max(16, Math.round(size / 2)) : min_size;
  const sizes = [size];
  while (Math.round(size / 2 ** (sizes.length / 2)) >= least) sizes.push(Math.round(size / 2 ** (sizes.length / 2)));
  const area = (side) => (side * side * Math.min(shape, 1 / shape)) / 1e6;
  const first = start === "instant" ? steps : first_steps;
  return sizes.reduce((sum, side, index) => sum + area(side) * (index === sizes.length - 1 ? first : steps), 0);
}

export function showEstimate() {
  if (!server.steps.standard) return;
  const given = settings();
  const seconds = server.paces[given.quality] * work(given, choice.content?.shape || 4 / 3);
  find("estimate").textContent = `about ${duration(seconds < 20 ? Math.max(2, seconds) : 5 * Math.round(seconds / 5))}`;
}

export function offerControls() {
  const sizes = SIZES.filter((size) => size <= server.limits.size);
  if (!sizes.length) sizes.push(server.limits.size);
  const usual = Math.min(512, sizes.at(-1));
  find("sizes").querySelector("div").innerHTML = sizes
    .map((size) => `<label><input type="radio" name="size" value="${size}"${size === usual ? " checked" : ""}><span>${size}</span></label>`)
    .join("");
  for (const id of Object.keys(SLIDERS)) {
    find(id).addEventListener("input", () => showValue(id));
    showValue(id);
  }
  for (const id of AT_ONCE) {
    find(id).addEventListener("input", () => tell("chosen", { isMoving: true }));
    find(id).addEventListener("change", () => tell("chosen"));
  }
  find("start").addEventListener("change", () => (find("start").dataset.before = find("start").value));
  find("controls").addEventListener("change", () => tell("changed"));
  find("dice").addEventListener("click", () => {
    find("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
    tell("changed");
  });
  showEstimate();
}
