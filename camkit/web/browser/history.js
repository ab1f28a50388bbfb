// Back and forward through what was looked at: an entry of the browser's history for each picture, class, layer, model and
// tab; what else changes goes into the entry that is there. An entry's address is the query that link.py reads. Its state
// is {entry, kept}: a name of its own, and the token by which the server finds the result again. "select" asks the server
// for the entry that the browser went to.
const NAMES = ["example", "class", "methods", "layer", "max_n", "model", "full"];
const FIRST_TAB = "cover"; // the one that page.py selects
const title = document.title;
let place = [], kept = null; // of what is shown
let awaited = null; // the entry that the browser went to, until the server begins with it
let now = null; // the state of the entry that the browser is at

const newEntry = () => Math.random().toString(36).slice(2);
const query = () => new URLSearchParams(location.search);

// Gradio's description of the API writes its own name into the address, and takes the state away.
function mend() {
  if (now && !history.state?.entry) history.replaceState(now, "");
}

function write(how, asked, state) {
  mend();
  now = state;
  const text = asked.toString().replaceAll("%2C", ",");
  history[how](state, "", location.pathname + (text && `?${text}`) + location.hash);
}

// What the browser is at, for the server.
export function here() {
  if (!history.state?.entry) history.replaceState({ entry: newEntry() }, "");
  now = history.state;
  return { ...now, query: Object.fromEntries(query()) };
}

// The server has begun with the entry `visit`.
export function begun(visit) {
  if (visit === awaited) awaited = null;
}

// The first of a result: {address, image, kept, visit}. `visit`: the entry that it was asked for.
export function record({ address, image, kept: token, visit }) {
  const late = visit ? visit !== history.state?.entry : awaited; // the browser has gone on since it was asked for
  awaited = null;
  if (late) return;
  const asked = query(), tab = asked.get("tab"), found = [image, address.class, address.layer, address.model];
  [...NAMES, "tab"].forEach((name) => asked.delete(name));
  // The class of an own picture would be asked of another one where the address is opened.
  Object.entries(address).forEach(([name, text]) => { if (name !== "class" || address.example) asked.set(name, text); });
  if (tab) asked.set("tab", tab);
  const stays = visit || !place.length || found.every((each, at) => each === place[at]);
  write(stays ? "replaceState" : "pushState", asked, { entry: stays ? (history.state?.entry ?? newEntry()) : newEntry(), kept: token });
  document.title = `${address.class} · ${title}`;
  [place, kept] = [found, token];
}

// --- tabs ---

function showTab() {
  const tabs = [...document.querySelectorAll("#strip [role=tab]")], wanted = query().get("tab") ?? FIRST_TAB;
  const tab = tabs.find((each) => each.dataset.tabId === wanted);
  if (tab?.getAttribute("aria-selected") === "false") tab.click();
}

document.addEventListener("click", (event) => {
  const tab = event.target.closest?.("#strip [role=tab]")?.dataset.tabId, asked = query();
  if (!tab || tab === (asked.get("tab") ?? FIRST_TAB)) return;
  if (tab === FIRST_TAB) asked.delete("tab"); else asked.set("tab", tab);
  write("pushState", asked, { ...history.state, entry: newEntry() });
});

export default function start({ trigger }) {
  window.addEventListener("popstate", () => {
    showTab();
    const state = history.state;
    now = state;
    if (state?.kept && state.kept === kept && !awaited) return; // another tab of what is shown
    awaited = here().entry;
    trigger("select");
  });
  window.addEventListener("beforeunload", mend);
  // Gradio may draw a tab late, not listen yet to a click on it, or select its own first one after that: the address
  // counts until the visitor takes a tab.
  const early = new MutationObserver(showTab), end = () => early.disconnect();
  early.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
  ["pointerdown", "keydown"].forEach((kind) => document.addEventListener(kind, (event) => {
    if (event.target.closest?.("#strip [role=tab]")) end();
  }, true));
  setTimeout(end, 20000);
  showTab();
}
