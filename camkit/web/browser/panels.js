// Draws maps over a picture in the browser, as maps.py does on the server: opacity, colours and mode change without
// asking the server. Runs once per gr.HTML component, with `element`, `props`, `trigger` and `watch` given by Gradio.
// props.value: {working: run, visit} when a run has begun, null when it failed, and then, as often as there is something new, {run, image, aspect, alt, address, kept, visit, panels: [{key, title, how, map, facts, note, badge, wait, progress,
// partial, diverging}]}; image and map are data URLs (map: 8-bit grey PNG). TABLES: colour map name -> 256 RGB triples
// as base64. View: a "cam-view" event. Stop is the event "stop". By keyboard: arrows move the probe, Escape hides it, Enter
// opens the map large (large.js), as a click does; a tap reads it, and a button beside it opens it.
import TABLES from "./tables.js";
import { begun, record } from "./history.js";
export default function start({ element, props, trigger, watch }) {
const root = element.querySelector(".cam-host").attachShadow({ mode: "open" });
root.innerHTML = `<style>
  :host { display: block; color: var(--body-text-color); font-family: var(--font); }
  .room { container-type: inline-size; }
  .grid { display: grid; grid-template-columns: repeat(var(--wide, 4), minmax(0, 760px)); gap: 8px; }
  figure { margin: 0; padding: 8px 10px; border: 1px solid var(--border-color-primary); border-radius: 8px;
           background: var(--block-background-fill); display: flex; flex-direction: column; gap: 4px; min-width: 0; }
  h3 { margin: 0; font-size: 15px; line-height: 22px; font-weight: 650; display: flex; gap: 8px; align-items: center; min-height: 22px; }
  h3 small { font-weight: 500; font-size: 11px; line-height: 16px; padding: 1px 7px; border-radius: 9px; white-space: nowrap;
             border: 1px solid var(--border-color-primary); }
  h3 .stop { margin-left: auto; font: inherit; font-size: 12px; line-height: 18px; font-weight: 600; padding: 1px 12px; border-radius: 6px; cursor: pointer;
             color: #b91c1c; background: transparent; border: 1px solid currentColor; }
  :host-context(.dark) h3 .stop { color: #fca5a5; }
  .stop:focus-visible, canvas:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
  p { margin: 0; font-size: 12.5px; line-height: 17px; color: var(--body-text-color-subdued); }
  p.how { min-height: 34px; }
  p.facts { font-variant-numeric: tabular-nums; color: var(--body-text-color); min-height: 17px; }
  p.note { color: var(--body-text-color); font-weight: 550; }
  p.note:empty, p.how:empty { display: none; }
  .frame { position: relative; aspect-ratio: var(--aspect, var(--opening)); width: 100%; max-height: var(--cam-height, clamp(150px, calc(100vh - 655px), 420px)); border-radius: 5px; overflow: hidden; }
  figure[data-state=waiting] .frame { background: var(--background-fill-secondary); }
  canvas { width: 100%; height: 100%; object-fit: contain; display: block; touch-action: pan-y; cursor: crosshair; }
  .probe { position: absolute; right: 6px; bottom: 6px; font-size: 12px; padding: 1px 7px; border-radius: 6px; pointer-events: none;
           background: #000c; color: #fff; font-variant-numeric: tabular-nums; }
  .cross { position: absolute; width: 14px; height: 14px; margin: -9px 0 0 -9px; border: 2px solid #fff; border-radius: 50%;
           box-shadow: 0 0 0 1px #000; pointer-events: none; }
  .enlarge { position: absolute; right: 4px; top: 4px; display: grid; place-items: center; width: 32px; height: 32px; padding: 0; border: 0; border-radius: 8px; cursor: pointer; color: white; background: #000a; opacity: 0; }
  .enlarge svg { width: 18px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
  .frame:hover .enlarge, canvas:focus-visible ~ .enlarge { opacity: 1; }
  figure[data-state=waiting] .enlarge { display: none; }
  [hidden] { display: none !important; }
  /* A run without anything to draw yet: seen when it takes longer than most. */
  .work { height: 3px; margin-bottom: 3px; border-radius: 2px; overflow: hidden; opacity: 0; }
  .work::after { content: ""; display: block; height: 100%; width: 30%; border-radius: 2px; background: var(--color-accent); }
  :host(.working) .work { opacity: 1; transition: opacity .1s .25s; }
  :host(.working) .work::after { animation: to-and-fro 1.2s ease-in-out infinite alternate; }
  :host(.working) .grid { opacity: .6; transition: opacity .2s .25s; }
  :host(.stale) .grid { opacity: .45; }
  @keyframes to-and-fro { to { transform: translateX(233%); } }
  @media (prefers-reduced-motion: reduce) { :host(.working) .work::after { animation: none; width: 100%; } }
  progress { display: block; width: 100%; height: 4px; border: 0; border-radius: 2px; overflow: hidden; appearance: none; background: var(--border-color-primary); }
  progress.idle { visibility: hidden; }
  progress::-webkit-progress-bar { background: var(--border-color-primary); }
  progress::-webkit-progress-value { background: var(--color-accent); }
  progress::-moz-progress-bar { background: var(--color-accent); }
  .wait { position: absolute; inset: 0; display: grid; place-items: center; text-align: center; padding: 4px; font-size: 13px; font-weight: 550; line-height: 18px;
          color: var(--body-text-color); background: color-mix(in srgb, var(--block-background-fill) 82%, transparent); }
  .only-read { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  @container (width < 1000px) {
    .grid { grid-template-columns: repeat(var(--medium, 2), minmax(0, 1fr)); }
    .frame { max-height: var(--cam-height, clamp(150px, calc((100vh - 762px) / 2), 300px)); }
  }
  @container (width < 560px) {
    .grid { grid-template-columns: repeat(var(--narrow, 2), minmax(0, 1fr)); gap: 6px; }
    figure { padding: 6px; }
    h3 { font-size: 13.5px; gap: 4px; }
    h3 .stop { padding: 1px 7px; }
    p.how { display: none; }
    p.facts { min-height: 34px; }
    .frame { max-height: var(--cam-height, 210px); }
  }
  /* Stop is a finger's size where fingers are, over the map that it is about. */
  @media (max-width: 700px), (pointer: coarse) {
    figure { position: relative; }
    .enlarge { opacity: 1; right: 0; top: 0; width: 40px; height: 40px; background: none; }
    .enlarge svg { padding: 4px; border-radius: 8px; background: #000a; }
    h3 .stop { position: absolute; left: 12px; top: 44px; z-index: 1; min-height: 40px; min-width: 64px; background: var(--block-background-fill); }
  }
</style><div class="room"><div class="work"></div><div class="grid"></div></div><p class="only-read said" role="status"></p><p class="only-read read" aria-live="polite"></p>`;
const host = element.querySelector(".cam-host"), grid = root.querySelector(".grid");
const panels = new Map();
const pictures = new Map(); // data URL -> promise of a decoded image; only the latest of each panel is kept
const view = { alpha: props.alpha, colormap: props.colormap, mode: "map", ...window.camView, box: window.camBox }; // camView: the controls, if moved before
const tables = Object.fromEntries(Object.entries(TABLES).map(([name, text]) =>
  [name, Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]));
let latestRun = -1, workingRun = -1;

const decoded = (url) => {
  if (!pictures.has(url)) {
    const image = new Image();
    image.src = url;
    pictures.set(url, image.decode().then(() => image));
  }
  return pictures.get(url);
};

function makePanel(key) {
  const figure = document.createElement("figure");
  figure.dataset.key = key;
  figure.innerHTML = `<h3><span class="title"></span><small hidden></small><button type="button" class="stop" hidden>Stop</button></h3><p class="how"></p>
    <div class="frame"><canvas role="application" tabindex="0" aria-roledescription="map"></canvas><button type="button" class="enlarge" tabindex="-1"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/></svg></button><div class="wait">waiting</div><i class="cross" hidden></i><span class="probe" hidden></span></div>
    <progress max="1" class="idle"></progress><p class="facts"></p><p class="note"></p>`;
  const part = (selector) => figure.querySelector(selector);
  const panel = { figure, canvas: part("canvas"), cross: part(".cross"), probe: part(".probe"), grey: null, picture: null, seen: [0, 0, 1, 1], part };
  panel.valueAt = (u, v) => valueAt(panel, u, v);
  const point = (event) => {
    finger = event.pointerType === "touch";
    const box = shown(panel.canvas);
    probe((event.offsetX - box.left) / box.width, (event.offsetY - box.top) / box.height);
  };
  panel.canvas.addEventListener("pointerdown", point); // a tap reads the value, which stays until the next tap
  panel.canvas.addEventListener("pointermove", point);
  panel.canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hideProbe(); });
  panel.canvas.addEventListener("blur", hideProbe);
  panel.canvas.addEventListener("keydown", (event) => (event.key === "Enter" ? enlarge(key) : probeByKey(panel, event)));
  panel.canvas.addEventListener("click", () => { if (!finger) enlarge(key); });
  part(".enlarge").addEventListener("click", () => { panel.canvas.focus(); enlarge(key); });
  part(".stop").addEventListener("click", () => { part(".stop").disabled = true; trigger("stop"); });
  return panel;
}

// --- the probe: the value of every map at one place ---

// Where the picture lies inside a canvas that is shown with object-fit: contain.
function shown(canvas) {
  const scale = Math.min(canvas.clientWidth / canvas.width, canvas.clientHeight / canvas.height);
  const width = canvas.width * scale, height = canvas.height * scale;
  return { left: (canvas.clientWidth - width) / 2, top: (canvas.clientHeight - height) / 2, width, height };
}

// The value of a map at shares of the picture's width and height, in words; null where there is none yet.
function valueAt({ grey, data, seen: [left, top, right, bottom] }, u, v) {
  if (!grey) return null;
  const across = (u - left) / (right - left), down = (v - top) / (bottom - top);
  if (across < 0 || across >= 1 || down < 0 || down >= 1) return "not seen";
  const level = grey.data[4 * (Math.floor(down * grey.height) * grey.width + Math.floor(across * grey.width))];
  return (data.diverging ? (level - 128) / 127 : level / 255).toFixed(2);
}

let finger = false, large = null;
async function enlarge(key) {
  if (!panels.get(key)?.greyImage) return;
  const module = await import("./large.js");
  large ??= module.default({ root, shown: panels, paint });
  if (panels.has(key)) large.open(key, props.value?.address?.class);
}

function probe(u, v) {
  panels.forEach((panel) => {
    const inside = u >= 0 && u < 1 && v >= 0 && v < 1 && panel.grey;
    panel.cross.hidden = panel.probe.hidden = !inside;
    if (!inside) return;
    const place = shown(panel.canvas);
    panel.probe.textContent = valueAt(panel, u, v);
    panel.cross.style.left = `${place.left + u * place.width}px`;
    panel.cross.style.top = `${place.top + v * place.height}px`;
  });
}

function hideProbe() {
  panels.forEach((panel) => { panel.cross.hidden = panel.probe.hidden = true; });
}

window.addEventListener("pointerdown", (event) => { if (!event.composedPath().some((each) => each.tagName === "CANVAS")) hideProbe(); });

let cursor = [0.5, 0.5];
function probeByKey(panel, event) {
  if (event.key === "Escape") return hideProbe();
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  const by = event.shiftKey ? 0.1 : 0.025;
  cursor = cursor.map((at, axis) => Math.min(0.999, Math.max(0, at + step[axis] * by)));
  probe(...cursor);
  const values = [...panels.values()].filter((each) => !each.probe.hidden).map((each) => `${each.data.title} ${each.probe.textContent}`);
  const [across, down] = cursor.map((at) => Math.round(100 * at));
  root.querySelector(".read").textContent = `${across} % across, ${down} % down: ${values.join(", ")}`;
}

// --- drawing ---

function scratch(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

// Where the picture lies that the model sees: left, top, width and height in the canvas, in whole pixels.
function placeOf({ canvas, seen }) {
  const [left, top, right, bottom] = seen.map((share, at) => Math.round(share * (at % 2 ? canvas.height : canvas.width)));
  return [left, top, right - left, bottom - top];
}

// The map at the picture's size in the chosen colours, and, where the opacity follows the map, as transparent as the map is
// low (a difference: as it is near zero); kept until the map or the colours change.
function colored(panel) {
  const name = panel.data.diverging ? "difference" : view.colormap, follows = view.mode === "map";
  const wanted = `${name} ${follows}`;
  if (panel.coloredFor === wanted && panel.colored) return panel.colored;
  const canvas = scratch(panel.canvas.width, panel.canvas.height), context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(panel.greyImage, ...placeOf(panel));
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height), data = pixels.data, table = tables[name];
  for (let i = 0; i < data.length; i += 4) {
    const level = data[i];
    if (!data[i + 3]) continue; // what the model does not see stays without colour
    if (follows) data[i + 3] = panel.data.diverging ? Math.min(255, 2 * Math.abs(level - 128)) : level;
    data[i] = table[3 * level]; data[i + 1] = table[3 * level + 1]; data[i + 2] = table[3 * level + 2];
  }
  context.putImageData(pixels, 0, 0);
  [panel.colored, panel.coloredFor] = [canvas, wanted];
  return canvas;
}

// The box around the map's largest region, as shares of the picture: a white line between two dark ones.
function frame(canvas, context, box) {
  const line = Math.max(1, canvas.width / (canvas.clientWidth || canvas.width)), [left, top, right, bottom] = box.map((share, at) => share * (at % 2 ? canvas.height : canvas.width));
  context.globalAlpha = 1;
  for (const [style, width] of [["#000c", 5], ["#fff", 2]]) {
    [context.strokeStyle, context.lineWidth] = [style, width * line];
    context.strokeRect(left + 2.5 * line, top + 2.5 * line, Math.max(1, right - left - 5 * line), Math.max(1, bottom - top - 5 * line));
  }
}

function draw(panel) {
  const { canvas, picture } = panel;
  if (!picture) return;
  if (canvas.width !== picture.naturalWidth || canvas.height !== picture.naturalHeight) {
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    panel.colored = null;
  }
  paint(panel, canvas.getContext("2d"));
  if (large) large.redraw();
}

// Draws a panel's picture on a canvas of the picture's size, with its map unless `plain`.
function paint(panel, context, plain = false) {
  const { canvas, picture } = panel;
  context.globalCompositeOperation = "source-over";
  context.globalAlpha = 1;
  context.drawImage(picture, 0, 0);
  if (plain || !panel.greyImage) return;
  if (view.mode === "masked" && !panel.data.diverging) {
    context.globalCompositeOperation = "multiply";
    context.drawImage(panel.greyImage, ...placeOf(panel));
    context.globalCompositeOperation = "source-over"; // the model sees nothing of the rest
    context.fillStyle = "black";
    context.beginPath();
    context.rect(0, 0, canvas.width, canvas.height);
    context.rect(...placeOf(panel));
    context.fill("evenodd");
  } else {
    context.globalAlpha = view.mode === "heatmap" ? 1 : view.alpha;
    context.drawImage(colored(panel), 0, 0);
  }
  if (view.box && panel.data.box) frame(canvas, context, panel.data.box);
}

// The line at the top says which colour is where the map is high, beside the scale.
const HOT = { turbo: "Red", jet: "Red", viridis: "Yellow", cividis: "Yellow", inferno: "Yellow" };
function legend() {
  const masked = view.mode === "masked", table = tables[view.colormap];
  const stops = Array.from({ length: 17 }, (_, at) => table.slice(3 * Math.min(255, 16 * at), 3 * Math.min(255, 16 * at) + 3).join());
  const scale = masked ? "black, white" : stops.map((rgb) => `rgb(${rgb})`).join();
  document.querySelectorAll(".cam-scale").forEach((bar) => { bar.style.background = `linear-gradient(to right, ${scale})`; });
  document.querySelectorAll(".cam-hot").forEach((word) => { word.textContent = masked ? "Bright" : HOT[view.colormap]; });
}

// --- words ---

function describe(panel, value) {
  const data = panel.data, part = panel.part, running = data.progress != null;
  part(".title").textContent = data.title;
  part(".how").textContent = data.how ?? "";
  part(".facts").textContent = data.facts ?? "";
  part(".note").textContent = data.note ?? "";
  part("small").textContent = data.badge ?? "";
  part("small").hidden = !data.badge;
  part(".enlarge").setAttribute("aria-label", `Open ${data.title} large`);
  part(".stop").setAttribute("aria-label", `Stop ${data.title}`);
  part(".stop").hidden = !running;
  if (!running) part(".stop").disabled = false;
  const progress = part("progress");
  progress.classList.toggle("idle", !running);
  progress.value = data.progress ?? 0;
  progress.setAttribute("aria-label", `${data.title} progress`);
  part(".wait").hidden = Boolean(data.map);
  part(".wait").textContent = data.wait ?? "waiting";
  panel.canvas.setAttribute("aria-label", `${data.title}: ${value.alt || "map over the picture"}${data.facts ? `, ${data.facts}` : ""}. Arrow keys read its values, Enter opens it large.`);
  panel.figure.dataset.state = data.map ? (data.partial ? "partial" : "complete") : "waiting";
}

// What a screen reader is told of a run: that it began, what is still refined once the rest is there, and the end.
function tell(value) {
  const named = (wanted) => value.panels.filter(wanted).map((data) => data.title).join(", ");
  const waiting = value.panels.filter((data) => !data.map && !data.note);
  let words = "";
  if (value.panels.every((data) => data.map && !data.partial)) words = `Complete: ${named(() => true)}${value.alt ? `: ${value.alt}` : ""}.`;
  else if (value.panels.some((data) => data.badge)) words = `Stopped: ${named((data) => data.badge)} is partial.`;
  else if (value.panels.every((data) => !data.map)) words = value.run ? `Computing ${value.alt || "the maps"}.` : "";
  else if (!waiting.length) words = `${named((data) => !data.partial)} complete; being refined: ${named((data) => data.partial)}.`;
  const said = root.querySelector(".said");
  if (words && said.textContent !== words) said.textContent = words;
}

// A run of the first screen: what was measured is of the maps before, and the page's address shows what one sees.
function begin(value) {
  document.querySelectorAll(".measured, #contrast .cam-host.filled, .model-row .cam-host.filled").forEach((each) => each.classList.add("stale"));
  record(value);
}

async function show(value) {
  if (value && "working" in value) {
    if (value.working && value.working < workingRun) return; // a run that a newer one has replaced
    if (value.working) workingRun = value.working;
    if (value.visit) begun(value.visit);
    host.classList.toggle("working", Boolean(value.working));
    return;
  }
  if (!value || value.run < Math.max(latestRun, value.run && workingRun)) return; // a run that a newer one has replaced
  host.classList.remove("working");
  if (value.run !== latestRun) host.classList.remove("stale");
  if (value.run !== latestRun && value.address) begin(value);
  if (value.image && element.closest("#maps") && (value.run !== latestRun || !value.run)) {
    [window.camPicture, window.camSeen] = [value.image, value.seen]; // for a box that has not been drawn yet
    window.dispatchEvent(new CustomEvent("cam-picture"));
  }
  if (element.closest("#maps")) {
    window.camMaps = value.panels.filter((data) => data.map);
    window.dispatchEvent(new CustomEvent("cam-maps"));
  }
  latestRun = value.run;
  if (value.aspect) grid.style.setProperty("--aspect", value.aspect);
  const wanted = value.panels.map((data) => data.key), count = wanted.length;
  grid.style.setProperty("--wide", count);
  grid.style.setProperty("--medium", count <= 3 ? count : count === 4 ? 2 : 3);
  grid.style.setProperty("--narrow", Math.min(count, 2));
  panels.forEach((panel, key) => { if (!wanted.includes(key)) { panel.figure.remove(); panels.delete(key); } });
  tell(value);
  legend();
  const work = value.panels.map(async (data, position) => {
    if (!panels.has(data.key)) panels.set(data.key, makePanel(data.key));
    const panel = panels.get(data.key);
    if (grid.children[position] !== panel.figure) grid.insertBefore(panel.figure, grid.children[position] ?? null);
    panel.data = data;
    describe(panel, value);
    const picture = value.image ? await decoded(value.image) : null;
    const grey = data.map ? await decoded(data.map) : null;
    if (panel.data !== data) return; // something newer came while this was decoded
    if (panel.greyImage !== grey) {
      [panel.greyImage, panel.colored, panel.grey] = [grey, null, null];
      if (grey) {
        const canvas = scratch(grey.naturalWidth, grey.naturalHeight), context = canvas.getContext("2d");
        context.drawImage(grey, 0, 0);
        panel.grey = context.getImageData(0, 0, canvas.width, canvas.height);
      }
    }
    panel.picture = picture;
    const seen = value.seen ?? [0, 0, 1, 1];
    if (String(panel.seen) !== String(seen)) [panel.seen, panel.colored] = [seen, null];
    draw(panel);
    panel.figure.dataset.drawn = `${value.run}/${data.map ? data.map.length : 0}`;
  });
  await Promise.all(work);
  host.classList.add("filled");
  const kept = new Set([value.image, ...value.panels.map((data) => data.map)]);
  [...pictures.keys()].forEach((url) => { if (!kept.has(url)) pictures.delete(url); });
}

window.addEventListener("cam-view", (event) => {
  Object.assign(view, event.detail);
  panels.forEach((panel) => panel.data && draw(panel));
  legend();
  host.dataset.view = JSON.stringify(view);
});
watch("value", () => show(props.value));
show(props.value);
}
