// Whether the server is there: it may end, and be started again.
import { allowPaint, ask, complain, find, listen, tell } from "./common.js";

const INTERVAL = 2000; // ms
const PATIENCE = 1800;
const MISSES = 3; // answers that are late, one after the other: the machine or the line may be busy for a moment
const ROUND = 30; // looks until the page asks what there is, as if it had been looked at again
let isGone = false;
let isLooking = false;
let misses = 0;
let looks = 0;

async function look(event) {
  if (document.hidden || isLooking) return;
  isLooking = true;
  try {
    const answer = await fetch("api/alive", { signal: AbortSignal.timeout(PATIENCE) });
    const { is_known } = await answer.json();
    misses = 0;
    looks += 1;
    if (!is_known) await ask("POST", "api/session");
    if (isGone || !is_known) tell("returned");
    else if (event || looks % ROUND === 0) tell("visible");
    show(false);
  } catch (error) {
    misses += 1;
    if (error.status) complain(error); // it is there, and lets nobody else in
    else if (error.name !== "TimeoutError" || misses >= MISSES) show(true);
  } finally {
    isLooking = false;
  }
}

function show(gone) {
  if (gone === isGone) return;
  isGone = gone;
  if (gone) tell("gone");
  find("lost").hidden = !gone;
  find("lost").textContent = gone ? "The program behind this page has ended. What is here stays; start nst app again, and it goes on." : "";
  document.body.classList.toggle("gone", gone);
  allowPaint({ isGone });
}

export function watchConnection() {
  setInterval(look, INTERVAL);
  document.addEventListener("visibilitychange", look);
  addEventListener("focus", look); // of windows side by side none is hidden
  listen("unreachable", () => show(true));
}
