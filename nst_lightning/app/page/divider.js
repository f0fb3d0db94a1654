// Before and after, zoom and full screen: which part of the two images is seen, and how large.
import { find } from "./common.js";

const LARGEST = 8;
let part = 50; // of the canvas's width where the photo is shown, per cent
let zoom = { scale: 1, x: 0, y: 0 }; // of the stage: pixels of the canvas
const touches = new Map(); // pointers that are down: id: [x, y]

export function divide(percent) {
  part = Math.min(100, Math.max(0, percent));
  apply();
}

export function offerDivider(isOffered) {
  find("divider").hidden = !isOffered;
  apply();
}

function apply() {
  const canvas = find("canvas"), { width, height } = canvas.getBoundingClientRect();
  zoom.scale = Math.min(LARGEST, Math.max(1, zoom.scale));
  zoom.x = Math.min(0, Math.max(width * (1 - zoom.scale), zoom.x));
  zoom.y = Math.min(0, Math.max(height * (1 - zoom.scale), zoom.y));
  find("stage").style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
  canvas.classList.toggle("zoomed", zoom.scale > 1);
  const isDivided = !find("divider").hidden;
  const at = isDivided ? (width * part) / 100 : 0;
  const inside = width ? (100 * (at - zoom.x)) / (zoom.scale * width) : 0;
  find("painting").style.clipPath = `inset(0 0 0 ${Math.max(0, inside)}%)`;
  find("divider").style.left = `${part}%`;
  find("divider").setAttribute("aria-valuenow", Math.round(part));
  find("divider").setAttribute("aria-valuetext", `${Math.round(part)} % photo`);
  find("tag-photo").hidden = !isDivided || part < 15;
  find("tag-painting").hidden = !isDivided || part > 80;
}

function zoomBy(factor, x, y) {
  const { left, top, width, height } = find("canvas").getBoundingClientRect();
  const scale = Math.min(LARGEST, Math.max(1, zoom.scale * factor));
  const [atX, atY] = [(x ?? left + width / 2) - left, (y ?? top + height / 2) - top];
  const by = scale / zoom.scale;
  zoom = { scale, x: atX - (atX - zoom.x) * by, y: atY - (atY - zoom.y) * by };
  apply();
}

async function toggleFull() {
  const frame = find("frame");
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await frame.requestFullscreen();
  } catch {
    frame.classList.toggle("full"); // a browser that lets videos alone be full
    showFull();
  }
}

function isFull() {
  return Boolean(document.fullscreenElement) || find("frame").classList.contains("full");
}

function showFull() {
  find("full").setAttribute("aria-pressed", isFull());
  zoom = { scale: 1, x: 0, y: 0 };
  apply();
}

function dragDivider(event) {
  const { left, width } = find("canvas").getBoundingClientRect();
  divide((100 * (event.clientX - left)) / width);
}

export function listenForDivider(isBrushing) {
  const divider = find("divider"), canvas = find("canvas");
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    event.stopPropagation();
  });
  divider.addEventListener("pointermove", (event) => {
    if (divider.hasPointerCapture(event.pointerId)) dragDivider(event);
  });
  divider.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -20, PageUp: 20, Home: -100, End: 100 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    divide(part + step);
  });

  // One finger moves what is zoomed in, two zoom.
  canvas.addEventListener("pointerdown", (event) => {
    if (isBrushing() || event.target.closest("button")) return;
    touches.set(event.pointerId, [event.clientX, event.clientY]);
    if (zoom.scale > 1) canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = touches.get(event.pointerId);
    if (!before) return;
    const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
    touches.set(event.pointerId, [event.clientX, event.clientY]);
    if (other) {
      const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
      zoomBy(apart([event.clientX, event.clientY]) / apart(before), (event.clientX + other[0]) / 2, (event.clientY + other[1]) / 2);
    } else if (zoom.scale > 1) {
      zoom.x += event.clientX - before[0];
      zoom.y += event.clientY - before[1];
      apply();
    }
  });
  for (const kind of ["pointerup", "pointercancel", "pointerleave"]) canvas.addEventListener(kind, (event) => touches.delete(event.pointerId));
  canvas.addEventListener("dblclick", (event) => {
    if (!isBrushing()) zoomBy(zoom.scale > 1 ? 1 / LARGEST : 2.5, event.clientX, event.clientY);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!(event.ctrlKey || event.metaKey || document.fullscreenElement)) return; // else the page is scrolled
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  }, { passive: false });

  find("zoom-in").addEventListener("click", () => zoomBy(1.5));
  find("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  find("full").addEventListener("click", toggleFull);
  addEventListener("keydown", (event) => {
    // Letters act where the focus is on the picture: elsewhere they may be a voice's or a screen reader's.
    if (!(find("frame").contains(event.target) || isFull()) || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: () => zoomBy(1 / LARGEST), f: toggleFull }[event.key];
    if (act) act();
    else if (event.key === "Escape" && find("frame").classList.contains("full")) toggleFull();
  });
  document.addEventListener("fullscreenchange", showFull);
  new ResizeObserver(apply).observe(canvas);
}
