// Whether the server is there: it may end, and be started again.
import { ask, find, listen, tell } from "./common.js";

const INTERVAL = 2000; // ms
const PATIENCE = 1800;
let isGone = false;

async function look(event) {
  if (document.hidden) return;
  try {
    const answer = await fetch("api/alive", { signal: AbortSignal.timeout(PATIENCE) });
    const { is_known } = await answer.json();
    if (!is_known) await ask("POST", "api/session");
    if (isGone || !is_known) tell("returned");
    else if (event) tell("visible");
    show(false);
  } catch {
    show(true);
  }
}

function show(gone) {
  if (gone && !isGone) tell("gone");
  isGone = gone;
  find("lost").hidden = !gone;
  find("lost").textContent = gone ? "The program behind this page has ended. What is here stays; start nst app again, and it goes on." : "";
  document.body.classList.toggle("gone", gone);
  find("paint").disabled = gone;
}

export function watchConnection() {
  setInterval(look, INTERVAL);
  document.addEventListener("visibilitychange", look);
  addEventListener("focus", look); // of windows side by side none is hidden
  listen("unreachable", () => show(true));
}
