// One map, large, in a dialog of its own: a slider between it and the plain picture or another method's map, the value under
// the pointer, and a file of what is shown. `shown`: the panels of panels.js by key; `paint(panel, context)` draws one as the
// page does, or the picture alone. Returns {open(key, name), redraw()}; Escape closes it, and the focus goes back to where it was.
export default function start({ root, shown, paint }) {
const dialog = root.appendChild(document.createElement("dialog"));
dialog.className = "large";
dialog.innerHTML = `<style>
  dialog.large { box-sizing: border-box; width: min(96vw, 1080px); max-height: 96vh; padding: 12px 16px; border: 1px solid var(--border-color-primary); border-radius: 12px;
    color: var(--body-text-color); background: var(--body-background-fill); font-family: var(--font); overflow: auto; }
  dialog.large::backdrop { background: #000a; }
  .large header, .large .tools { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; }
  .large h2 { flex: 1; margin: 0; font-size: 17px; line-height: 24px; }
  .large button, .large select { font: inherit; font-size: 14px; min-height: 40px; min-width: 40px; padding: 0 14px; border-radius: 8px; cursor: pointer; color: var(--body-text-color);
    border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill); }
  .large [hidden] { display: none; }
  .large :focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
  .large .stage { position: relative; width: fit-content; margin: 8px auto; line-height: 0; border-radius: 6px; overflow: hidden; touch-action: pan-y; cursor: crosshair; }
  .large canvas { display: block; touch-action: pan-y; }
  .large .other { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut, 100%)); pointer-events: none; }
  .large .edge { position: absolute; top: 0; bottom: 0; left: var(--cut, 100%); width: 2px; margin-left: -1px; background: white; box-shadow: 0 0 0 1px #0008; pointer-events: none; }
  .large .spot { position: absolute; width: 16px; height: 16px; margin: -10px 0 0 -10px; border: 2px solid white; border-radius: 50%; box-shadow: 0 0 0 1px black; pointer-events: none; }
  .large label { display: flex; gap: 8px; align-items: center; font-size: 14px; }
  .large .cut { display: block; margin: 0 auto; min-height: 40px; accent-color: var(--color-accent); cursor: ew-resize; }
  .large .values { margin: 0; min-height: 22px; font-size: 14px; line-height: 22px; font-variant-numeric: tabular-nums; }
</style><header><h2></h2><button type="button" class="save">Save this map</button><button type="button" class="done" aria-label="Close">&#10005;</button></header>
<div class="stage"><canvas class="map" role="application" tabindex="0" aria-roledescription="map"></canvas><canvas class="other" aria-hidden="true"></canvas><i class="edge"></i><i class="spot" hidden></i></div>
<input type="range" class="cut" min="0" max="100" aria-label="Compare: what is left of the slider is the map">
<p class="values" role="status"></p>
<div class="tools"><label>Right of the slider <select></select></label></div>`;
const part = (selector) => dialog.querySelector(selector);
const canvas = part(".map"), other = part(".other"), choice = part("select"), cut = part(".cut"), spot = part(".spot");
const HINT = "Point at a place, or use the arrow keys, to read the maps' values.";
let key = null, at = [0.5, 0.5];

function draw(target, panel, plain) {
  [target.width, target.height] = [panel.canvas.width, panel.canvas.height];
  paint(panel, target.getContext("2d"), plain);
}

function redraw() {
  const panel = shown.get(key);
  if (!dialog.open) return;
  if (!panel?.picture) return dialog.close();
  draw(canvas, panel, false);
  const against = shown.get(choice.value);
  draw(other, against ?? panel, !against);
  const across = Math.min(dialog.clientWidth - 32, (innerHeight * 0.96 - 220) * canvas.width / canvas.height);
  [canvas, other].forEach((each) => { each.style.width = `${Math.max(120, across)}px`; each.style.height = "auto"; });
  cut.style.width = canvas.style.width;
  dialog.style.setProperty("--cut", `${cut.value}%`);
  part(".edge").hidden = cut.value === "100";
}

// The value of each map at a share of the picture's width and height.
function read(u, v) {
  const inside = u >= 0 && u < 1 && v >= 0 && v < 1;
  spot.hidden = !inside;
  if (!inside) return;
  at = [u, v];
  [spot.style.left, spot.style.top] = [`${100 * u}%`, `${100 * v}%`];
  const values = [...shown.values()].filter((panel) => panel.valueAt(u, v) !== null).sort((one) => (one.data.key === key ? -1 : 0));
  part(".values").textContent = `${Math.round(100 * u)} % across, ${Math.round(100 * v)} % down: ${values.map((panel) => `${panel.data.title} ${panel.valueAt(u, v)}`).join(" · ")}`;
}

const point = (event) => { const box = canvas.getBoundingClientRect(); read((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height); };
canvas.addEventListener("pointerdown", point);
canvas.addEventListener("pointermove", point);
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  read(...at.map((share, axis) => Math.min(0.999, Math.max(0, share + step[axis] * (event.shiftKey ? 0.1 : 0.025)))));
});
cut.addEventListener("input", redraw);
choice.addEventListener("change", () => { if (cut.value === "100") cut.value = 50; redraw(); });
part(".done").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // what is beside it
window.addEventListener("resize", redraw);
part(".save").addEventListener("click", () => canvas.toBlob((blob) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${part("h2").textContent.toLowerCase().replace(/\+/g, " plus").replace(/[^\p{L}\p{N}]+/gu, "-")}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // once the browser has read it
}, "image/png"));

function open(wanted, name) {
  key = wanted;
  const title = shown.get(key).data.title;
  part("h2").textContent = name ? `${title}, ${name}` : title;
  canvas.setAttribute("aria-label", `${title}, large. Arrow keys read its values.`);
  const others = [...shown.values()].filter((panel) => panel.data.key !== key && panel.greyImage);
  choice.replaceChildren(new Option("the plain picture", ""), ...others.map((panel) => new Option(panel.data.title, panel.data.key)));
  [cut.value, spot.hidden, part(".values").textContent] = [100, true, HINT];
  dialog.showModal();
  redraw();
  canvas.focus();
}

return { open, redraw };
}
