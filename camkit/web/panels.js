// Draws maps over a picture in the browser, as maps.py does on the server: opacity, colours and mode change without
// asking the server. Runs once per gr.HTML component, with `element`, `props` and `watch` given by Gradio.
// props.value: {run, image, panels: [{key, title, how, map, facts, note, progress, partial, diverging}]}; image and map are
// data URLs (map: 8-bit grey PNG). props.tables: colour map name -> 256 RGB triples as base64. View: a "cam-view" event.

const root = element.querySelector(".cam-host").attachShadow({ mode: "open" });
root.innerHTML = `<style>
  :host { display: block; color: var(--body-text-color); font-family: var(--font); }
  .grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, max(215px, var(--cam-column, 34%))), 1fr)); gap: 10px; }
  figure { margin: 0; padding: 8px 12px; border: 1px solid var(--border-color-primary); border-radius: 10px;
           background: var(--block-background-fill); display: flex; flex-direction: column; gap: 4px; min-width: 0; }
  h3 { margin: 0; font-size: 15px; font-weight: 650; display: flex; gap: 8px; align-items: baseline; }
  h3 small { font-weight: 500; font-size: 11px; padding: 1px 7px; border-radius: 9px; margin-left: auto; white-space: nowrap;
             background: var(--background-fill-secondary); color: var(--body-text-color); border: 1px solid var(--border-color-primary); }
  p { margin: 0; font-size: 12.5px; line-height: 1.35; color: var(--body-text-color-subdued); }
  p.facts { font-variant-numeric: tabular-nums; color: var(--body-text-color); min-height: 1.35em; }
  p.note { color: var(--body-text-color); font-weight: 550; }
  p:empty { display: none; }
  p.facts:empty { display: block; }
  .frame { position: relative; aspect-ratio: 1; width: 100%; max-height: var(--cam-height, clamp(190px, calc(50vh - 182px), 480px)); border-radius: 6px; overflow: hidden;
           background: var(--background-fill-secondary); }
  canvas { width: 100%; height: 100%; object-fit: contain; display: block; touch-action: pan-y; }
  .probe { position: absolute; right: 6px; bottom: 6px; font-size: 11px; padding: 1px 6px; border-radius: 6px; pointer-events: none;
           background: #000b; color: #fff; font-variant-numeric: tabular-nums; }
  .cross { position: absolute; width: 14px; height: 14px; margin: -8px 0 0 -8px; border: 2px solid #fff; border-radius: 50%;
           box-shadow: 0 0 0 1px #000; pointer-events: none; }
  [hidden] { display: none !important; }
  progress { width: 100%; height: 5px; border: 0; border-radius: 3px; overflow: hidden; appearance: none; background: var(--border-color-primary); }
  progress::-webkit-progress-bar { background: var(--border-color-primary); }
  progress::-webkit-progress-value { background: var(--color-accent); }
  progress::-moz-progress-bar { background: var(--color-accent); }
  .wait { position: absolute; inset: 0; display: grid; place-items: center; font-size: 12.5px; color: var(--body-text-color-subdued); }
</style><div class="grid" aria-live="off"></div>`;
const grid = root.querySelector(".grid");
const panels = new Map();
const pictures = new Map(); // data URL -> promise of a decoded image; only the latest of each panel is kept
const view = { alpha: props.alpha, colormap: props.colormap, mode: "overlay", ...window.camView }; // camView: the controls, if moved before
const tables = Object.fromEntries(Object.entries(props.tables).map(([name, text]) =>
  [name, Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]));
let latestRun = -1;

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
  figure.innerHTML = `<h3><span class="title"></span><small hidden></small></h3><p class="how"></p>
    <div class="frame"><canvas role="img"></canvas><div class="wait">waiting</div><i class="cross" hidden></i><span class="probe" hidden></span></div>
    <progress max="1" hidden></progress><p class="facts"></p><p class="note"></p>`;
  const part = (selector) => figure.querySelector(selector);
  const panel = { figure, canvas: part("canvas"), cross: part(".cross"), probe: part(".probe"), grey: null, picture: null, part };
  panel.canvas.addEventListener("pointermove", (event) => probe(panel, event));
  panel.canvas.addEventListener("pointerleave", () => panels.forEach((each) => { each.cross.hidden = each.probe.hidden = true; }));
  return panel;
}

// Where the picture lies inside a canvas that is shown with object-fit: contain.
function shown(canvas) {
  const scale = Math.min(canvas.clientWidth / canvas.width, canvas.clientHeight / canvas.height);
  const width = canvas.width * scale, height = canvas.height * scale;
  return { left: (canvas.clientWidth - width) / 2, top: (canvas.clientHeight - height) / 2, width, height };
}

function probe(source, event) {
  const box = shown(source.canvas);
  const u = (event.offsetX - box.left) / box.width, v = (event.offsetY - box.top) / box.height;
  panels.forEach((panel) => {
    const inside = u >= 0 && u < 1 && v >= 0 && v < 1 && panel.grey;
    panel.cross.hidden = panel.probe.hidden = !inside;
    if (!inside) return;
    const place = shown(panel.canvas), grey = panel.grey;
    const level = grey.data[4 * (Math.floor(v * grey.height) * grey.width + Math.floor(u * grey.width))];
    panel.probe.textContent = panel.data.diverging ? ((level - 128) / 127).toFixed(2) : (level / 255).toFixed(2);
    panel.cross.style.left = `${place.left + u * place.width}px`;
    panel.cross.style.top = `${place.top + v * place.height}px`;
  });
}

function scratch(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}

// The map at the picture's size in the chosen colours; kept until the map or the colours change.
function colored(panel) {
  const name = panel.data.diverging ? "difference" : view.colormap;
  if (panel.coloredFor === name && panel.colored) return panel.colored;
  const canvas = scratch(panel.canvas.width, panel.canvas.height), context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(panel.greyImage, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height), table = tables[name];
  for (let i = 0; i < pixels.data.length; i += 4) {
    const level = 3 * pixels.data[i];
    pixels.data[i] = table[level]; pixels.data[i + 1] = table[level + 1]; pixels.data[i + 2] = table[level + 2];
  }
  context.putImageData(pixels, 0, 0);
  [panel.colored, panel.coloredFor] = [canvas, name];
  return canvas;
}

function draw(panel) {
  const { canvas, picture } = panel;
  if (!picture) return;
  if (canvas.width !== picture.naturalWidth || canvas.height !== picture.naturalHeight) {
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    panel.colored = null;
  }
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = "source-over";
  context.globalAlpha = 1;
  context.drawImage(picture, 0, 0);
  if (!panel.greyImage) return;
  if (view.mode === "masked" && !panel.data.diverging) {
    context.globalCompositeOperation = "multiply";
    context.drawImage(panel.greyImage, 0, 0, canvas.width, canvas.height);
  } else {
    context.globalAlpha = view.mode === "heatmap" ? 1 : view.alpha;
    context.drawImage(colored(panel), 0, 0);
  }
}

function describe(panel, value) {
  const data = panel.data, part = panel.part;
  part(".title").textContent = data.title;
  part(".how").textContent = data.how ?? "";
  part(".facts").textContent = data.facts ?? "";
  part(".note").textContent = data.note ?? "";
  part("small").textContent = data.badge ?? "";
  part("small").hidden = !data.badge;
  const progress = part("progress");
  progress.hidden = data.progress == null;
  progress.value = data.progress ?? 0;
  progress.setAttribute("aria-label", `${data.title} progress`);
  part(".wait").hidden = Boolean(data.map);
  part(".wait").textContent = data.wait ?? "waiting";
  panel.canvas.setAttribute("aria-label", `${data.title}: ${value.alt ?? "map over the picture"}${data.facts ? `, ${data.facts}` : ""}`);
  panel.figure.dataset.state = data.map ? (data.partial ? "partial" : "complete") : "waiting";
}

async function show(value) {
  if (!value || value.run < latestRun) return; // a run that a newer one has replaced
  latestRun = value.run;
  const wanted = value.panels.map((data) => data.key);
  panels.forEach((panel, key) => { if (!wanted.includes(key)) { panel.figure.remove(); panels.delete(key); } });
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
    draw(panel);
    panel.figure.dataset.drawn = `${value.run}/${data.map ? data.map.length : 0}`;
  });
  await Promise.all(work);
  const kept = new Set([value.image, ...value.panels.map((data) => data.map)]);
  [...pictures.keys()].forEach((url) => { if (!kept.has(url)) pictures.delete(url); });
}

window.addEventListener("cam-view", (event) => {
  Object.assign(view, event.detail);
  panels.forEach((panel) => panel.data && draw(panel));
  host.dataset.view = JSON.stringify(view);
});
const host = element.querySelector(".cam-host");
watch("value", () => show(props.value));
show(props.value);
