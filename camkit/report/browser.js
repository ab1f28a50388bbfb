// The report as a browser: the pictures of a study by right and wrong, their maps coloured here, confusions, classes.
// Takes window.camkitStudy, which report/browser.py writes (its fields are described there), and draws into #study. Runs from
// a file: pictures are images, maps and data are scripts. The address's #... keeps filters, order and view.
(() => {
const study = window.camkitStudy, count = study.names.length, root = document.getElementById("study");
const alone = window.camkitPictures; // by number, where the page has no folder of them
const PAGE = 48, METHODS = Object.fromEntries(study.methods), OF_CLASS = study.classes;
const known = study.true.some((index) => index >= 0), boxed = Object.keys(study.inside).length > 0;
const wrong = (n) => study.true[n] >= 0 && study.true[n] !== study.top[n];
const right = (n) => study.true[n] >= 0 && study.true[n] === study.top[n];
const said = (value) => (study.quantity !== "probability" ? Number(value.toPrecision(4)) : value >= 0.001 ? `${(100 * value).toFixed(1)}%` : `${Number((100 * value).toPrecision(2))}%`);
const tables = Object.fromEntries(Object.entries(study.colors).map(([name, text]) => [name, bytes(text)]));
const DEFAULTS = { show: "all", true: "", top: "", text: "", sort: known ? "mistakes" : "name", method: study.methods[0][0],
  view: "map", strength: "0.8", colors: "turbo", boxes: "", page: "1" };
const SORTS = { ...(known ? { mistakes: "Most confident mistakes first" } : {}),
  ...(Object.keys(study.gains).length ? { faithful: "Least faithful map first" } : {}),
  ...(boxed ? { outside: "Most energy outside the box first" } : {}), name: "Order of the study" };
const VIEWS = { map: "Follows the map", even: "Even opacity", heatmap: "Heatmap only", none: "Picture only" };
let state = { ...DEFAULTS }, found = [];

function bytes(text) { return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)); }

function make(tag, fields = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !name.startsWith("aria") && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// --- the address ---

function readAddress() {
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  state = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS)) if (name in asked) state[name] = asked[name];
  const allowed = { show: { all: 1, right: 1, wrong: 1 }, sort: SORTS, method: METHODS, view: VIEWS, colors: tables, boxes: { "": 1, on: 1 } };
  for (const [name, values] of Object.entries(allowed)) if (!Object.hasOwn(values, state[name])) state[name] = DEFAULTS[name];
  if (!(state.strength >= 0 && state.strength <= 1)) state.strength = DEFAULTS.strength;
}

function change(fields) {
  state = { ...state, page: "1", ...fields };
  keepAddress();
  show();
}

function keepAddress() {
  const query = new URLSearchParams(Object.entries(state).filter(([name, value]) => String(value) !== DEFAULTS[name]));
  const address = query.size ? `#${query}` : " ";
  if (!alone) history.replaceState(null, "", address === " " ? location.pathname + location.search : address);
}

// --- what is shown ---

function filtered() {
  const words = state.text.trim().toLowerCase(), own = state.true === "" ? null : Number(state.true), top = state.top === "" ? null : Number(state.top);
  const all = [];
  for (let n = 0; n < count; n += 1) {
    if (state.show === "wrong" && !wrong(n)) continue;
    if (state.show === "right" && !right(n)) continue;
    if (own !== null && study.true[n] !== own) continue;
    if (top !== null && study.top[n] !== top) continue;
    if (words && ![study.names[n], OF_CLASS[study.top[n]], OF_CLASS[study.true[n]] ?? ""].some((each) => each.toLowerCase().includes(words))) continue;
    all.push(n);
  }
  const last = (value) => value ?? Infinity;
  const keys = {
    mistakes: (n) => (wrong(n) ? -study.answers[n] : 1 + study.answers[n]),
    faithful: (n) => last(study.gains[state.method]?.[n]),
    outside: (n) => last(study.inside[state.method]?.[n]),
    name: (n) => n,
  };
  const key = keys[state.sort], of = new Map(all.map((n) => [n, key(n)]));
  return all.sort((a, b) => of.get(a) - of.get(b) || a - b);
}

// --- maps: bytes of a script, expanded to the picture's size as the stock visualizer expands them ---

const chunks = new Map();
function mapsOf(n) {
  const number = Math.floor(n / study.chunk), place = n % study.chunk, read = window.camkitMaps?.[number];
  if (read) return Promise.resolve(read[place]);
  if (!chunks.has(number)) {
    chunks.set(number, new Promise((resolve, reject) => {
      document.head.append(make("script", { src: `${study.folder}/maps/${number}.js`, onload: resolve, onerror: () => reject(new Error("no maps")) }));
    }));
  }
  return chunks.get(number).then(() => window.camkitMaps[number][place]);
}
const pictureOf = (n) => alone?.[n] ?? `${study.folder}/pictures/${Math.floor(n / 1000)}/${n}.jpg`;

function expanded(values, [rows, columns], width, height) {
  const out = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const v = rows > 1 && height > 1 ? (y * (rows - 1)) / (height - 1) : 0, above = Math.min(rows - 1, Math.floor(v)), below = Math.min(rows - 1, above + 1), dy = v - above;
    for (let x = 0; x < width; x += 1) {
      const u = columns > 1 && width > 1 ? (x * (columns - 1)) / (width - 1) : 0, left = Math.min(columns - 1, Math.floor(u)), next = Math.min(columns - 1, left + 1), dx = u - left;
      const upper = values[above * columns + left] * (1 - dx) + values[above * columns + next] * dx;
      const lower = values[below * columns + left] * (1 - dx) + values[below * columns + next] * dx;
      out[y * width + x] = upper * (1 - dy) + lower * dy;
    }
  }
  return out;
}

// `seen`: the part of the picture that the model sees, as shares, of which the map is.
function paint(canvas, image, text, grid, seen = [0, 0, 1, 1], view = state.view) {
  const { width, height } = canvas, context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.imageSmoothingQuality = "high";
  if (image) context.drawImage(image, 0, 0, width, height);
  if (!text || view === "none") return;
  const [left, top, right, bottom] = seen.map((share, at) => Math.round(share * (at % 2 ? height : width)));
  const across = Math.max(1, right - left), down = Math.max(1, bottom - top);
  const levels = expanded(bytes(text), grid, across, down), table = tables[state.colors], layer = make("canvas", { width: across, height: down });
  const pixels = new ImageData(across, down);
  for (let at = 0; at < levels.length; at += 1) {
    const level = Math.round(levels[at]);
    pixels.data.set([table[3 * level], table[3 * level + 1], table[3 * level + 2], view === "map" ? level : 255], 4 * at);
  }
  layer.getContext("2d").putImageData(pixels, 0, 0);
  context.globalAlpha = view === "heatmap" ? 1 : Number(state.strength);
  context.drawImage(layer, left, top);
}

// A box of shares of the picture: a white line on a dark one, dashed where it is drawn by hand.
function outline(canvas, box, dashed = false) {
  const context = canvas.getContext("2d"), line = canvas.width / (canvas.clientWidth || canvas.width), [left, top, right, bottom] = box.map((share, at) => share * (at % 2 ? canvas.height : canvas.width));
  context.globalAlpha = 1;
  for (const [style, width, dash] of [["#000c", 4, []], ["#fff", 2, dashed ? [6 * line, 4 * line] : []]]) {
    [context.strokeStyle, context.lineWidth] = [style, width * line];
    context.setLineDash(dash);
    context.strokeRect(left + 2 * line, top + 2 * line, Math.max(1, right - left - 4 * line), Math.max(1, bottom - top - 4 * line));
  }
}

// A picture with one of its maps; `which` 0: of the class explained, 1: of the answer where that is another class.
function view(n, which, caption, wide) {
  const aspect = study.aspects[n], width = aspect >= 1 ? wide : Math.round(wide * aspect), height = Math.max(1, Math.round(width / aspect));
  const canvas = make("canvas", { width, height, role: "img", "aria-label": `${study.names[n]}: map of ${caption.textContent}` });
  const image = new Image();
  let maps = null;
  const draw = () => {
    if (!image.complete || !image.naturalWidth) return;
    const method = study.methods.findIndex(([key]) => key === state.method), [left, top, right, bottom] = study.seen[n] ?? [0, 0, 1, 1];
    paint(canvas, image, maps?.[which]?.[method], study.grids[n] ?? study.grid, study.seen[n]);
    if (!maps || !state.boxes) return;
    const box = maps[2 + which][method] ?? [];
    if (box.length) outline(canvas, box.map((share, at) => (at % 2 ? top + share * (bottom - top) : left + share * (right - left))));
    maps[4 + which].forEach((drawn) => outline(canvas, drawn, true));
  };
  image.addEventListener("load", draw);
  const figure = make("figure", {}, make("div", { className: "frame" }, canvas), caption);
  figure.begin = () => { image.src = pictureOf(n); mapsOf(n).then((all) => { maps = all; draw(); }, () => figure.append("Its maps are missing.")); };
  figure.draw = draw;
  return figure;
}

const watched = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (!entry.isIntersecting) return;
  watched.unobserve(entry.target);
  entry.target.querySelectorAll("figure").forEach((figure) => figure.begin());
}), { rootMargin: "400px" });

const named = (index) => OF_CLASS[index] ?? "";
function views(n, wide) {
  const caption = (word, name, answer) => make("figcaption", {}, ...(word ? [make("span", { className: "word" }, word)] : []), make("b", { title: name }, name), make("span", { className: "number" }, said(answer)));
  if (study.explained[n] === study.top[n]) return [view(n, 0, caption("", named(study.top[n]), study.answers[n]), wide)];
  const answered = caption("answered", named(study.top[n]), study.answers[n]);
  const other = caption(study.true[n] >= 0 ? "true" : "explained", named(study.explained[n]), study.own[n]);
  return [view(n, 1, answered, wide), view(n, 0, other, wide)];
}

function facts(n) {
  const gain = study.gains[state.method]?.[n], inside = study.inside[state.method]?.[n];
  return [gain == null ? "" : `ins. - del. ${gain > 0 ? "+" : ""}${gain.toFixed(3)}`, inside == null ? "" : `${Math.round(100 * inside)}% inside the box`].filter(Boolean).join(" · ");
}

function card(n, place) {
  const mark = wrong(n) ? "wrong" : right(n) ? "right" : "";
  const node = make("li", { className: `card ${mark} ${study.explained[n] === study.top[n] ? "" : "two"}` },
    make("button", { type: "button", className: "open", onclick: () => open(place), "aria-label": `Enlarge ${study.names[n]}` },
      make("div", { className: "views" }, ...views(n, 160))),
    make("p", { className: "name", title: study.names[n] }, ...(mark ? [make("span", { className: "mark" }, mark)] : []), study.names[n]),
    make("p", { className: "facts" }, facts(n)));
  watched.observe(node);
  return node;
}

// --- the frame of it all, built once ---

const parts = {};
function field(label, node) { return make("label", {}, make("span", {}, label), node); }
function select(name, options, label, chosen = change) {
  parts[name] = make("select", { onchange: () => chosen({ [name]: parts[name].value }) }, ...options.map(([value, text]) => make("option", { value }, text)));
  return field(label, parts[name]);
}

function classOptions(of, word) {
  const counts = new Map();
  of.forEach((index) => { if (index >= 0) counts.set(index, (counts.get(index) ?? 0) + 1); });
  return [["", word], ...[...counts].map(([index, number]) => [String(index), `${named(index)} (${number})`]).sort((a, b) => a[1].localeCompare(b[1]))];
}

function build() {
  const total = { all: count, right: 0, wrong: 0 };
  for (let n = 0; n < count; n += 1) { total.right += right(n); total.wrong += wrong(n); }
  parts.shows = Object.entries(total).map(([key, number]) => make("button", { type: "button", onclick: () => change({ show: key }), value: key },
    `${key[0].toUpperCase()}${key.slice(1)} `, make("span", { className: "number" }, number.toLocaleString("en"))));
  let typing;
  parts.text = make("input", { type: "search", placeholder: "Name or class", oninput: () => { clearTimeout(typing); typing = setTimeout(() => change({ text: parts.text.value }), 150); } });
  parts.strength = make("input", { type: "range", min: 0, max: 1, step: 0.05, oninput: () => redraw({ strength: parts.strength.value }) });
  parts.boxes = make("input", { type: "checkbox", onchange: () => redraw({ boxes: parts.boxes.checked ? "on" : "" }) });
  parts.clear = make("button", { type: "button", className: "quiet", onclick: () => change({ show: "all", true: "", top: "", text: "" }) }, "Clear filters");
  parts.said = make("p", { className: "said", role: "status" });
  parts.grid = make("ol", { className: "grid" });
  parts.pagers = [pager(), pager()];
  const filters = make("div", { className: "filters" },
    ...(known ? [make("div", { className: "shows", role: "group", "aria-label": "Which pictures" }, ...parts.shows)] : []),
    field("Search", parts.text),
    ...(known ? [select("true", classOptions(study.true, "any"), "True class")] : []),
    select("top", classOptions(study.top, "any"), "Answered class"), select("sort", Object.entries(SORTS), "Order"));
  const look = make("details", { className: "look", open: matchMedia("(min-width: 60rem)").matches }, make("summary", {}, "How the maps are shown"),
    select("method", study.methods, "Method", (fields) => change({ ...fields, page: state.page })), select("view", Object.entries(VIEWS), "View", redraw), field("Strength", parts.strength),
    select("colors", Object.keys(study.colors).filter((key) => key !== "difference").map((key) => [key, key[0].toUpperCase() + key.slice(1)]), "Colours", redraw),
    make("div", { className: "scale" }, "0", parts.scale = make("i"), "1"),
    make("label", { className: "check" }, parts.boxes, make("span", {}, "Boxes")),
    parts.about = make("p", { className: "note" }, `Solid: the largest region at or above 20% of the map's maximum.${boxed ? " Dashed: drawn by hand." : ""}`));
  root.append(
    make("div", { className: "columns" }, make("aside", {}, filters, look, ...(known ? [confusions()] : [])),
      make("section", { id: "pictures", "aria-label": "Pictures" }, make("div", { className: "bar" }, parts.said, parts.clear, parts.pagers[0].node), parts.grid, parts.pagers[1].node)),
    ...(known && total.wrong ? [matrix()] : []), classesSection());
  document.body.append(parts.dialog = dialog());
}

function pager() {
  const step = (by) => { change({ page: String(Number(state.page) + by) }); document.getElementById("pictures").scrollIntoView(); };
  const back = make("button", { type: "button", "aria-label": "Previous page", onclick: () => step(-1) }, "‹"), next = make("button", { type: "button", "aria-label": "Next page", onclick: () => step(1) }, "›");
  const at = make("span", { className: "number" });
  return { node: make("nav", { className: "pager", "aria-label": "Pages" }, back, at, next), back, next, at };
}

function show() {
  found = filtered();
  const pages = Math.max(1, Math.ceil(found.length / PAGE)), page = Math.min(pages, Math.max(1, Math.floor(Number(state.page)) || 1));
  state.page = String(page);
  parts.shows.forEach((button) => button.setAttribute("aria-pressed", button.value === state.show));
  for (const name of ["text", "true", "top", "sort", "method", "view", "strength", "colors"]) if (parts[name] && parts[name].value !== state[name]) parts[name].value = state[name];
  parts.boxes.checked = state.boxes === "on";
  const one = found.length === 1;
  parts.said.textContent = `${found.length.toLocaleString("en")} picture${one ? "" : "s"}`;
  parts.clear.hidden = state.show === "all" && !state.true && !state.top && !state.text;
  parts.pagers.forEach(({ node, back, next, at }) => {
    node.hidden = pages === 1;
    [back.disabled, next.disabled, at.textContent] = [page === 1, page === pages, `${page.toLocaleString("en")} of ${pages.toLocaleString("en")}`];
  });
  watched.disconnect();
  const from = PAGE * (page - 1);
  parts.grid.replaceChildren(...found.slice(from, from + PAGE).map((n, place) => card(n, from + place)));
  if (!found.length) parts.grid.append(make("li", { className: "none" }, "No picture is like that. Clear a filter."));
  root.querySelectorAll("[data-true]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.true === state.true && button.dataset.top === state.top));
  scale();
}

// Another look needs no other cards. The address waits, which browsers let change only so often.
function redraw(fields) {
  Object.assign(state, fields);
  root.querySelectorAll(".grid figure").forEach((figure) => figure.draw());
  clearTimeout(redraw.later);
  redraw.later = setTimeout(keepAddress, 400);
  scale();
}

function scale() {
  parts.about.hidden = !state.boxes;
  drawMeans();
  const table = tables[state.colors], stops = Array.from({ length: 17 }, (_, at) => `rgb(${table.slice(3 * Math.min(255, 16 * at), 3 * Math.min(255, 16 * at) + 3).join()})`);
  parts.scale.style.background = `linear-gradient(to right, ${stops.join()})`;
}

// --- one picture, large ---

function dialog() {
  const step = (by) => { if (found[parts.at + by] !== undefined) fill(parts.at + by); };
  parts.large = make("div", { className: "large" });
  const explain = make("button", { type: "button", className: "main", onclick: () => { parts.dialog.close(); window.parent.postMessage({ camkitPicture: study.names[found[parts.at]] }, "*"); } }, "Explain on the first screen");
  const bar = make("div", { className: "bar" }, make("button", { type: "button", "aria-label": "Previous picture", onclick: () => step(-1) }, "‹"), make("button", { type: "button", "aria-label": "Next picture", onclick: () => step(1) }, "›"),
    ...(alone ? [explain] : []), make("button", { type: "button", className: "close", onclick: () => parts.dialog.close() }, "Close"));
  return make("dialog", { "aria-label": "Picture", onkeydown: (event) => step({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0),
    onclick: (event) => { if (event.target === parts.dialog) parts.dialog.close(); } }, bar, parts.large);
}

function fill(place) {
  const n = found[parts.at = place], shown = views(n, 480);
  parts.large.replaceChildren(make("h2", {}, study.names[n]), make("p", { className: "facts" }, [wrong(n) ? `wrong: it is ${named(study.true[n])}` : right(n) ? "right" : "", METHODS[state.method], facts(n)].filter(Boolean).join(" · ")),
    make("div", { className: "views" }, ...shown));
  shown.forEach((figure) => figure.begin());
}

function open(place) { fill(place); parts.dialog.showModal(); }

// --- confusions ---

const pairs = new Map();
for (let n = 0; n < count; n += 1) if (wrong(n)) { const key = `${study.true[n]} ${study.top[n]}`; pairs.set(key, (pairs.get(key) ?? 0) + 1); }
const frequent = [...pairs].map(([key, number]) => [...key.split(" "), number]).sort((a, b) => b[2] - a[2]);
const filter = (own, top) => { const same = state.true === own && state.top === top; change({ show: "all", true: same ? "" : own, top: same ? "" : top }); document.getElementById("pictures").scrollIntoView({ block: "nearest" }); };

function confusions() {
  const rows = frequent.slice(0, 12).map(([own, top, number]) => make("li", {}, make("button", { type: "button", "data-true": own, "data-top": top, onclick: () => filter(own, top) },
    make("span", { className: "pair" }, make("b", {}, named(own)), make("span", { className: "arrow" }, " taken for "), make("b", {}, named(top))), make("span", { className: "number" }, String(number)))));
  return make("div", { className: "confusions" }, make("h2", {}, "Most frequent confusions"), rows.length ? make("ol", {}, ...rows) : make("p", {}, "None: every answer is right."));
}

function matrix() {
  const most = new Map(), add = (index, number) => most.set(index, (most.get(index) ?? 0) + number);
  frequent.forEach(([own, top, number]) => { add(own, number); add(top, number); });
  const chosen = [...most].sort((a, b) => b[1] - a[1]).slice(0, 20).map(([index]) => index), cells = new Map(), sums = new Map();
  for (let n = 0; n < count; n += 1) if (study.true[n] >= 0) { const key = `${study.true[n]} ${study.top[n]}`; cells.set(key, (cells.get(key) ?? 0) + 1); sums.set(String(study.true[n]), (sums.get(String(study.true[n])) ?? 0) + 1); }
  const row = (own) => make("tr", {}, make("th", { scope: "row" }, named(own)), ...chosen.map((top) => {
    const number = cells.get(`${own} ${top}`) ?? 0, share = number / (sums.get(own) || 1);
    const label = `${number} of true class ${named(own)} answered ${named(top)}`;
    return make("td", { className: own === top ? "same" : "" }, number ? make("button", { type: "button", "data-true": own, "data-top": top, style: `--share: ${share.toFixed(3)}`, title: label, "aria-label": label, onclick: () => filter(own, top) }, String(number)) : "");
  }));
  return make("section", { className: "matrix" }, make("h2", {}, "Confusion matrix"),
    make("p", { className: "note" }, `Rows are true classes, columns answers; a number filters the pictures.${most.size > chosen.length ? ` The ${chosen.length} classes of ${most.size} with most mistakes.` : ""}`),
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Confusion matrix" }, make("table", {}, make("thead", {}, make("tr", {}, make("td", {}), ...chosen.map((top) => make("th", { scope: "col" }, make("span", {}, named(top)))))), make("tbody", {}, ...chosen.map(row)))));
}

// --- classes ---

function classesSection() {
  const header = ["Class", "Pictures", ...(known ? ["Accuracy"] : []), study.quantity[0].toUpperCase() + study.quantity.slice(1), "Insertion - deletion", ...(boxed ? ["Energy inside"] : []), "Mean map", "All others"];
  parts.rows = make("tbody");
  parts.more = make("button", { type: "button", className: "quiet", onclick: () => addRows() }, "Show more classes");
  const node = make("section", { className: "classes" }, make("h2", {}, "Class by class"), parts.words = make("div"),
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Class by class" }, make("table", {}, make("thead", {}, make("tr", {}, ...header.map((text) => make("th", { scope: "col" }, text)))), parts.rows)),
    parts.more, make("p", { className: "note" }, study.note));
  addRows();
  return node;
}

function addRows() {
  const from = parts.rows.children.length;
  parts.rows.append(...study.groups.slice(from, from + 20).map((group, place) => {
    const cells = [String(group.count), ...(known ? [group.accuracy] : []), group.answer], at = from + place;
    const mean = (which) => make("canvas", { width: 84, height: 84, role: "img", "aria-label": `${which ? "Mean map of all pictures but those" : "Mean map"} of ${named(group.index)}`, className: "mean" });
    const row = make("tr", {}, make("th", { scope: "row" }, make("button", { type: "button", className: "quiet", onclick: () => { change({ show: "all", top: known ? "" : String(group.index), true: known ? String(group.index) : "" }); document.getElementById("pictures").scrollIntoView(); } }, named(group.index))),
      ...cells.map((text) => make("td", {}, text)), make("td", { className: "gain" }), ...(boxed ? [make("td", { className: "inside" })] : []), make("td", {}, mean(0)), make("td", {}, mean(1)));
    row.group = [group, at];
    return row;
  }));
  parts.more.hidden = parts.rows.children.length >= study.groups.length;
  drawMeans();
}

function drawMeans() {
  parts.words.replaceChildren(...study.words[state.method].map((words, at) => make("p", { className: at ? "words found" : "words" }, words)));
  for (const row of parts.rows.children) {
    const [group, at] = row.group;
    row.classList.toggle("found", study.found[state.method].includes(group.index));
    row.querySelector(".gain").textContent = group.gains[state.method] ?? "";
    if (boxed) row.querySelector(".inside").textContent = group.inside[state.method] ?? "";
    row.querySelectorAll("canvas").forEach((canvas, which) => { if (canvas.drawn !== state.method + state.colors) { canvas.drawn = state.method + state.colors; paint(canvas, null, study.means[state.method][at][which], study.meanGrid, undefined, "heatmap"); } });
  }
}

readAddress();
build();
show();
window.addEventListener("hashchange", () => { readAddress(); show(); });
})();
