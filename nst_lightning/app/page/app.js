// The page: two images and some options go to the server, events come back. Nothing is fetched from anywhere else.
import { ask, complain, find, server, sources } from "./common.js";
import { compare } from "./viewer.js";
import { act, follow, paint, showChosen, take } from "./jobs.js";
import { listenForImages, offerSample, sourceOf } from "./images.js";
import { offerControls, offerInstant } from "./options.js";

async function copy() {
  const code = find("command");
  getSelection().selectAllChildren(code); // also what there is to copy by hand where the clipboard is closed
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    document.execCommand("copy");
  }
  find("copy").textContent = "Copied";
  setTimeout(() => (find("copy").textContent = "Copy"), 1500);
}

async function begin() {
  listenForImages();
  document.addEventListener("chosen", () => {
    find("paint").disabled = !(sources.content && sources.style);
    offerInstant();
    showChosen();
  });
  find("controls").addEventListener("submit", paint);
  find("stop").addEventListener("click", () => act("stop"));
  find("continue").addEventListener("click", () => act("continue"));
  find("compare").addEventListener("click", () => compare(!find("canvas").classList.contains("compared")));
  find("copy").addEventListener("click", copy);
  try {
    const state = await ask("GET", "api/state");
    server.limits = state.limits;
    server.networks = state.networks;
    find("methods").addEventListener("change", offerInstant);
    offerControls();
    const buttons = state.samples.map(offerSample);
    await Promise.all(buttons.map((button) => button.firstChild.decode().catch(() => {})));
    for (const role of ["content", "style"]) sourceOf(role).samples.firstChild.click();
    for (const job of state.jobs) take(job);
    const last = state.jobs.at(-1);
    if (last) follow(last.id);
  } catch (error) {
    complain(error);
  }
}

begin();
