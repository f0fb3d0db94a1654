// The page: pictures and settings go to the server, events come back. Nothing is fetched from anywhere else.
import { allowPaint, ask, choice, complain, CONNECTION, element, find, hold, listen, server } from "./common.js";
import { isBrushing, keptMasks, listenForBrush, restoreMasks } from "./brush.js";
import { watchConnection } from "./connection.js";
import { divide, listenForDivider } from "./divider.js";
import { repaint } from "./instant.js";
import { catchUp, follow, jobIds, leave, paint, shownJob, take, useCopies } from "./jobs.js";
import { offerControls, setSettings, settings, showEstimate } from "./options.js";
import { addSample, addUnknown, bringAgain, findPicture, listenForPictures, showChosen } from "./pictures.js";
import { listenForResult, offerLapses } from "./result.js";
import { show } from "./viewer.js";

const STORE = "nst-page"; // what a page that is loaded again goes on with

function store() {
  const kept = {
    content: choice.content?.id,
    styles: choice.styles.map((style) => style.id),
    weights: choice.weights,
    settings: settings(),
    masks: keptMasks(),
    shown: shownJob()?.id,
  };
  try {
    localStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    // full, or closed to pages: it is not remembered
  }
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) || {};
  } catch {
    return {};
  }
}

function onChosen(detail) {
  allowPaint();
  leave();
  showEstimate();
  repaint(Boolean(detail?.isMoving));
  if (!detail?.isMoving) store();
}

// Asks what there is: another tab may have started and deleted something, or the program was started again.
async function lookAgain() {
  if (!server.session) return load(); // nobody was known when the page came
  const had = jobIds();
  const { session, jobs, pictures } = await ask("GET", "api/state");
  catchUp(jobs, had);
  if (session === server.session) return addUnknown(pictures);
  server.session = session;
  await bringAgain();
  store();
  if (document.body.dataset.view !== "first") repaint();
}

// What is seen first: the samples, and what became of them.
function showFirstLook() {
  show({
    kind: "first",
    photo: choice.content,
    painting: "first_look.jpg",
    headline: "This is how it looks",
    detail: "Drag the divider. Then choose a photo and a style: samples, or your own pictures.",
  });
  divide(50);
}

function showLinks(links) {
  const own = { Documentation: "Help", Repository: "Project", Changelog: "" };
  for (const [name, address] of Object.entries(links)) {
    const text = own[name] ?? name;
    if (text) find("links").append(element("a", { href: address, textContent: text, rel: "noopener noreferrer", target: "_blank" }));
  }
  find("links").append(element("a", { href: "license", textContent: "License", target: "_blank" }));
}

function begin() {
  listenForPictures();
  listenForResult();
  listenForBrush();
  listenForDivider(isBrushing);
  watchConnection();
  listen("chosen", onChosen);
  listen("changed", () => {
    showEstimate();
    store();
  });
  listen("gone", useCopies);
  listen("visible", () => hold(lookAgain()).catch(() => {})); // what has ended meanwhile is told elsewhere
  listen("returned", () => {
    complain(null, CONNECTION);
    hold(lookAgain()).catch(complain);
  });
  find("controls").addEventListener("submit", paint);
  load().catch((error) => complain(error, CONNECTION)); // the next look at the connection tries again
}

async function load() {
  const state = await ask("GET", "api/state");
  if (server.session) return; // of two that were under way the first has done it
  Object.assign(server, { session: state.session, limits: state.limits, steps: state.steps, paces: state.paces });
  showLinks(state.links);
  offerControls();
  offerLapses(state.lapses);
  state.samples.forEach(addSample);
  addUnknown(state.pictures);
  const kept = stored();
  choice.content = findPicture("content", kept.content) || findPicture("content", "sample:town");
  choice.styles = (kept.styles || []).map((id) => findPicture("style", id)).filter(Boolean);
  if (!choice.styles.length) choice.styles = [findPicture("style", "sample:starry")];
  find("blend").checked = choice.styles.length > 1;
  choice.weights = kept.weights || {};
  if (kept.settings) setSettings(kept.settings);
  showChosen();
  if (choice.content.id === kept.content) await restoreMasks(kept.masks).catch(() => {});
  for (const job of state.jobs) take(job);
  const last = state.jobs.find((job) => job.id === kept.shown) || (kept.content ? null : state.jobs.at(-1));
  if (last) follow(last.id);
  else if (kept.content) repaint();
  else showFirstLook();
  leaveUnlessShown(last);
  allowPaint();
}

const leaveUnlessShown = (job) => job || leave();

begin();
