// What all parts of the page need.
export const find = (id) => document.getElementById(id);
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const sources = {}; // role: {id, label, url, shape}
export const server = { limits: {}, networks: {} }; // networks: name and the samples whose styles it has learned

export async function ask(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers });
  } catch {
    throw new Error("the page’s program can’t be reached; is nst app still running?");
  }
  const decoded = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(decoded.error || `the answer was ${answer.status}; try again.`);
  return decoded;
}

export function complain(error) {
  const problem = find("problem");
  problem.hidden = !error;
  problem.textContent = error ? capital(error.message) : "";
}
