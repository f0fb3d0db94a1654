// What is painted at once, in one pass, whenever something else is chosen.
import { ask, choice, complain, server, Unreachable } from "./common.js";
import { hasMasks } from "./brush.js";
import { shownJob } from "./jobs.js";
import { settings } from "./options.js";
import { askFromSources } from "./pictures.js";
import { show } from "./viewer.js";

const NAME = "instant"; // of its complaints
const DRAFT = 512; // pixels: while a slider is moved
const TAB = crypto.getRandomValues(new Uint32Array(2)).join("-"); // each tab has a painting of its own
let painted = null; // what the server painted last, and of what
let coming = null; // {controller, isDraft} of the request that is under way
let next = null; // {isMoving} of what has to follow it

// Shows what is painted at once of what is chosen, as soon as it is there, and as long as no job is shown.
export function repaint(isMoving = false) {
  if (shownJob() || !choice.content || !choice.styles.length) return;
  if (hasMasks()) {
    painted = null;
    showInstant();
    return;
  }
  if (coming) {
    next = { isMoving };
    // A finished one that is overtaken is not waited for; a draft is there in a moment, and is shown.
    if (!coming.isDraft) coming.controller.abort();
    return;
  }
  request(isMoving);
}

async function request(isMoving) {
  const given = settings(), controller = new AbortController(), began = performance.now();
  if (isMoving) given.size = Math.min(given.size, DRAFT);
  coming = { controller, isDraft: isMoving };
  if (!isMoving) showInstant(true);
  try {
    const photo = choice.content;
    const answer = await askFromSources((sources) => ask("POST", "api/instant", { ...given, ...sources, tab: TAB }, {}, controller.signal));
    painted = { ...answer, photo, isDraft: isMoving, seconds: (performance.now() - began) / 1000, size: Math.max(answer.width, answer.height) };
    complain(null, NAME);
    showInstant(Boolean(next));
  } catch (error) {
    if (!shownJob() && error.name !== "AbortError" && error.status !== 409 && !(error instanceof Unreachable)) complain(error, NAME);
  } finally {
    coming = null;
    if (next) {
      const { isMoving: isNextMoving } = next;
      next = null;
      repaint(isNextMoving);
    }
  }
}

// What can be kept: where it is, and what it was painted from.
export const paintedAtOnce = () => ({ address: address(), photo: painted.photo });
const address = () => `api/instant/${TAB}/${painted.number}`;

function showInstant(isComing = false) {
  if (shownJob()) return; // the visitor has turned to it
  const photo = choice.content;
  if (hasMasks()) {
    show({ kind: "idle", photo, painting: "", headline: "Ready", detail: "What you brushed counts when you paint." });
    return;
  }
  const there = painted?.photo === photo ? painted : null;
  const size = there && there.size < settings().size && !there.isDraft ? ` Paint goes up to ${settings().size}.` : "";
  const bold = settings().strength > 1 ? " A strength above × 1 counts when you paint." : "";
  show({
    kind: "instant",
    photo,
    painting: there ? `${address()}/preview` : "",
    headline: there ? "Painted at once" : "Ready",
    detail: there ? `${there.width}×${there.height} in ${there.seconds.toFixed(1)} s. Paint takes its time, and is finer.${size}${bold}` : "One moment …",
    command: there?.command,
    file: there?.file,
    picture: there && !there.isDraft ? `${address()}/picture` : "",
    settings: { size: server.limits.size }, // larger is what the size says already
    is_moving: isComing,
  });
}
