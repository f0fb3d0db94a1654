// The options: what the controls say.
import { find, server, sources } from "./common.js";

const SIZES = [256, 384, 512, 768, 1024, 1536, 2048];

const SLIDERS = {
  strength: (value) => [2 ** value, `× ${times(2 ** value)}`],
  brush: (value) => [2 ** value, `× ${times(2 ** value)}`],
  smoothness: (value) => [value, String(value)],
};

const times = (factor) => (factor >= 10 ? factor.toFixed(0) : Number(factor.toPrecision(2)).toString());

export function options() {
  const form = find("controls");
  const wanted = {
    content: sources.content.id,
    style: sources.style.id,
    size: Number(form.elements.size.value),
    quality: form.elements.quality.value,
    keep_colors: find("keep_colors").checked,
    start: find("start").value,
    seed: Number(find("seed").value),
  };
  if (form.elements.method.value === "instant") wanted.network = networkFor(sources.style);
  for (const [id, read] of Object.entries(SLIDERS)) wanted[id] = read(Number(find(id).value))[0];
  return wanted;
}

// A network that paints in one pass, if the package has one that learned this style.
function networkFor(style) {
  const found = Object.entries(server.networks).find(([, styles]) => styles.some((name) => style?.id === `sample:${name}`));
  return found ? found[0] : null;
}

export function offerInstant() {
  const [stepwise, instant] = find("methods").querySelectorAll("input");
  find("methods").hidden = !Object.keys(server.networks).length;
  instant.disabled = !networkFor(sources.style);
  if (instant.disabled) stepwise.checked = true;
  find("method-note").textContent = instant.disabled
    ? `Instant knows the style ${Object.values(server.networks).flat().join(", ")}.`
    : instant.checked ? "In one pass: less refined, and no bolder than × 1." : "";
  find("controls").classList.toggle("instant", instant.checked);
  find("strength").max = instant.checked ? 0 : 3; // a network paints its style as learned at most
  find("strength").dispatchEvent(new Event("input"));
}

export function offerControls() {
  const sizes = SIZES.filter((size) => size <= server.limits.size);
  if (!sizes.length) sizes.push(server.limits.size);
  const usual = Math.min(512, sizes.at(-1));
  find("sizes").querySelector("div").innerHTML = sizes
    .map((size) => `<label><input type="radio" name="size" value="${size}"${size === usual ? " checked" : ""}><span>${size}</span></label>`)
    .join("");
  for (const [id, read] of Object.entries(SLIDERS)) {
    const slider = find(id);
    const showValue = () => {
      find(`${id}-value`).textContent = read(Number(slider.value))[1];
      slider.setAttribute("aria-valuetext", find(`${id}-value`).textContent);
    };
    slider.addEventListener("input", showValue);
    showValue();
  }
}
