// What all parts of the page need.
export const find = (id) => document.getElementById(id);
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const server = { limits: {}, steps: {}, paces: {} }; // what the server said about itself

// What the visitor has chosen; a picture is {id, name, label, url, tile, shape, file}, the file of those that were brought.
export const choice = { content: null, styles: [], weights: {} };

// The parts tell each other of what happened, and do not import each other for it:
//   chosen    other pictures, weights or settings; its detail says whether the change is still going on
//   gone      the server can't be reached
//   visible   the page is looked at again; another tab may have done something meanwhile
//   returned  the server is there again, and may not know what it knew
//   turned    the viewer is about to turn to another job, to what is painted at once, or to a job that goes on
export const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
export const listen = (name, act) => document.addEventListener(name, (event) => act(event.detail));

// What is to be painted waits for what is on its way: masks that are brought back, pictures that a program that was
// started again is given.
let coming = Promise.resolve();
export const ready = () => coming;
export function hold(work) {
  coming = Promise.all([coming, work.catch(() => {})]);
  return work;
}

// Whether Paint can be pressed: the program is there, two pictures are chosen, and nothing is being asked for.
const paintable = { isGone: false, isAsked: false };
export function allowPaint(changed = {}) {
  Object.assign(paintable, changed);
  find("paint").disabled = paintable.isGone || paintable.isAsked || !(choice.content && choice.styles.length);
}

export const Unreachable = class extends Error {};

export async function ask(method, path, body, headers = {}, signal = undefined) {
  if (body && !(body instanceof Blob)) {
    body = JSON.stringify(body);
    headers = { "content-type": "application/json", ...headers };
  }
  let answer, decoded;
  try {
    answer = await fetch(path, { method, body, headers, signal });
    decoded = await answer.json().catch((error) => {
      if (error instanceof SyntaxError) return {}; // no JSON
      throw error; // it was cut off, or is not wanted any more
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tell("unreachable");
    throw new Unreachable("the page’s program can’t be reached; is nst app still running?");
  }
  if (!answer.ok) throw Object.assign(new Error(decoded.error || `the answer was ${answer.status}; try again.`), { status: answer.status });
  return decoded;
}

// Shows what went wrong, or that nothing does any more. What goes on by itself, such as painting at once, has a name,
// and takes back its own complaints only; so has a program that can't be reached, or does not know who asks (401).
export const CONNECTION = "connection";
export function complain(error, name = error instanceof Unreachable || error?.status === 401 ? CONNECTION : "") {
  const problem = find("problem");
  if (!error && name && problem.dataset.name !== name) return;
  problem.dataset.name = name;
  problem.hidden = !error;
  problem.textContent = error ? capital(error.message) : "";
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
