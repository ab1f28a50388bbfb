// A box in which a class is found by typing, by its name, another word for it or its index: exact names first, then names
// that begin so, then words of a name that do, then the rest. props.value: the index of the class that was chosen, which
// the event "select" tells; props.keeps: the box goes on showing it. The classes are those of window.camModel.
export default function start({ element, props, trigger, watch, CLASSES }) {
const MOST = 100; // entries that are listed at once
element.querySelector(".cam-classes").innerHTML = `<label for="${props.field}">${props.title}</label>
  <div class="box"><input id="${props.field}" type="text" role="combobox" aria-autocomplete="list" aria-expanded="false" aria-controls="${props.field}-list"
    autocomplete="off" spellcheck="false" placeholder="type a name, such as lion">
    <ul id="${props.field}-list" role="listbox" aria-label="${props.title}" hidden></ul><p class="none" role="status"></p></div>`;
const input = element.querySelector("input"), list = element.querySelector("ul"), none = element.querySelector(".none");
let classes = [], loaded = null, active = 0, chosen = "", opening = 0;
const plain = (text) => text.replaceAll("_", " ").toLowerCase().split(/\s+/).filter(Boolean).join(" ");

async function load() {
  if (loaded === window.camModel) return;
  const model = window.camModel;
  const answer = await fetch(`${window.gradio_config?.root ?? ""}${CLASSES}${encodeURIComponent(model)}`);
  if (!answer.ok) return;
  classes = (await answer.json()).map(({ index, name, also }) => ({ index, name, words: [name, ...also].map((word) => [word, plain(word)]) }));
  loaded = model;
}

// How well a word answers what was typed, 0 the best; 4 for not at all.
function rank(word, wanted) {
  if (word === wanted) return 0;
  const at = word.indexOf(wanted);
  if (at <= 0) return at < 0 ? 4 : 1;
  return ` ${word.replace(/[^\p{L}\p{N}]+/gu, " ")}`.includes(` ${wanted}`) ? 2 : 3;
}

function find(text) {
  const wanted = plain(text), found = [];
  for (const each of classes) {
    let best = wanted && String(each.index) === wanted ? 0 : Infinity, by = "";
    each.words.forEach(([word, folded], place) => {
      const quality = 2 * rank(folded, wanted) + (place > 0); // a name before another word that answers as well
      if (quality < 8 && quality < best) [best, by] = [quality, place ? word : ""];
    });
    if (best < Infinity) found.push({ each, best, by });
  }
  return found.sort((one, other) => one.best - other.best || one.each.index - other.each.index);
}

async function open() {
  const mine = ++opening;
  await load().catch(() => {}); // without a connection the list is empty, which is said
  if (mine !== opening || document.activeElement !== input) return; // closed, or opened anew, while the classes came
  const text = input.value === chosen ? "" : input.value, found = find(text);
  list.replaceChildren(...found.slice(0, MOST).map(({ each, by }, place) => {
    const entry = document.createElement("li");
    [entry.id, entry.role, entry.textContent] = [`${list.id}-${place}`, "option", each.name];
    entry.dataset.index = each.index;
    if (by) entry.appendChild(document.createElement("small")).textContent = by;
    return entry;
  }));
  list.hidden = !found.length;
  if (loaded === null) none.textContent = "The classes cannot be fetched: check the connection and click here again.";
  else none.textContent = found.length ? "" : `None of the ${classes.length} classes is called so: try a more general word.`;
  input.setAttribute("aria-expanded", String(!list.hidden));
  point(text ? 0 : -1);
}

function close() {
  opening += 1;
  list.hidden = true;
  none.textContent = "";
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
  input.value = chosen;
}

function point(place) {
  active = Math.max(-1, Math.min(list.children.length - 1, place));
  [...list.children].forEach((entry, at) => entry.setAttribute("aria-selected", String(at === active)));
  list.children[active]?.scrollIntoView({ block: "nearest" });
  if (active >= 0) input.setAttribute("aria-activedescendant", list.children[active].id);
  else input.removeAttribute("aria-activedescendant");
}

function choose(entry) {
  chosen = props.keeps ? entry.firstChild.textContent : "";
  props.value = Number(entry.dataset.index);
  close();
  trigger("select");
}

input.addEventListener("focus", () => { input.select(); open(); });
input.addEventListener("click", () => { if (list.hidden) open(); });
input.addEventListener("input", open);
input.addEventListener("blur", close);
input.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    if (list.hidden) open(); else point(active + step);
  } else if (event.key === "Enter") {
    event.preventDefault();
    const opened = list.hidden ? open() : Promise.resolve(); // typed faster than the classes came
    opened.then(() => { if (!list.hidden && active >= 0) choose(list.children[active]); });
  } else if (event.key === "Escape") close();
});
list.addEventListener("mousedown", (event) => event.preventDefault()); // the box keeps the focus
list.addEventListener("click", (event) => { const entry = event.target.closest("li"); if (entry) choose(entry); });
window.addEventListener("cam-model", () => {
  if (loaded === window.camModel) return; // told again
  if (loaded === null) return document.activeElement === input && open(); // told after one has begun to type
  // Another model has other classes.
  [chosen, props.value] = ["", null];
  close();
});
}
