// A picture to paint over: the strokes become a mask that the server reads. Runs once per gr.HTML component, with
// `element`, `props`, `trigger` and `watch` given by Gradio. props.value: {mask}, a 224 x 224 PNG data URL, white where
// covered; the picture is the one that the maps are of (panels.js, "cam-picture"), of which only what the model sees can
// be painted. While one paints, the event "input" tells of the mask; "select" asks for the hottest region of a map ({key}), which
// comes as the value. By keyboard: arrows move the brush, space paints, Delete clears, Ctrl+Z takes the last step back.
export default function start({ element, props, trigger, watch, SHARE }) {
const SIZE = 224, host = element.querySelector(".cam-host");
const root = host.attachShadow({ mode: "open" });
root.innerHTML = `<style>
  :host { display: block; font-family: var(--font); }
  .frame { position: relative; display: grid; align-items: center; min-height: min(380px, 44vh); background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); border-radius: 10px; overflow: hidden; }
  canvas { display: block; margin: 0 auto; max-width: 100%; max-height: min(380px, 44vh); cursor: crosshair; touch-action: none; }
  canvas:not([width]) { width: calc(min(380px, 44vh) * var(--opening)); aspect-ratio: var(--opening); } /* until it is drawn */
  canvas:focus-visible { outline: 3px solid var(--color-accent); outline-offset: -3px; }
  .bar { display: flex; gap: 10px; align-items: center; flex-wrap: wrap; margin-top: 8px; font-size: 13px; color: var(--body-text-color); }
  button { font: inherit; padding: 4px 12px; border-radius: 8px; cursor: pointer; color: var(--body-text-color);
           border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill); }
  [hidden] { display: none !important; }
  button:disabled { opacity: .5; cursor: default; }
  label { display: flex; gap: 6px; align-items: center; }
  @media (max-width: 700px), (pointer: coarse) { button, input { min-height: 40px; min-width: 64px; } canvas { max-height: 24vh; } .frame { min-height: 0; }
    .bar { margin-top: 6px; } .hot { flex-wrap: nowrap; overflow-x: auto; gap: 6px; white-space: nowrap; } .hot button { flex: none; } }
</style><div class="frame"><canvas tabindex="0" role="application"
  aria-label="Paint over the picture to cover a region. Arrow keys move the brush, space paints, Delete clears, Ctrl+Z takes the last step back."></canvas></div>
<div class="bar"><label>Brush <input type="range" min="6" max="80" value="36" aria-label="Brush size"></label><button type="button" class="undo" disabled>Undo</button><button type="button" class="clear">Clear</button><span class="unseen" hidden>The network does not see the dark part.</span></div>
<div class="bar hot" role="group" aria-label="Cover the hottest ${SHARE} of a map" hidden><span>Cover the hottest ${SHARE} of</span></div>`;
const canvas = root.querySelector("canvas"), context = canvas.getContext("2d"), brush = root.querySelector("input"), undo = root.querySelector(".undo");
const EVERY = 150, STEPS = 30; // milliseconds between two masks of a stroke; steps that can be taken back
const mask = document.createElement("canvas");
mask.width = mask.height = SIZE;
const ink = mask.getContext("2d");
let picture = null, seen = [0, 0, 1, 1], painting = false, cursor = [0.5, 0.5], keys = false, told = 0;
const steps = [];

function draw() {
  if (!picture) return;
  context.globalAlpha = 1;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const [left, top, right, bottom] = seen.map((share, at) => share * (at % 2 ? canvas.height : canvas.width));
  context.save(); // what the model does not see cannot be covered: it is dimmed, and shows no paint
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left, top, right - left, bottom - top);
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.fill("evenodd");
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  context.clip();
  context.globalAlpha = 0.75;
  context.drawImage(tinted(), 0, 0, canvas.width, canvas.height);
  context.restore();
  if (!keys) return;
  context.strokeStyle = "white"; context.lineWidth = 2;
  context.beginPath();
  context.ellipse(cursor[0] * canvas.width, cursor[1] * canvas.height, brush.value / 2 / SIZE * canvas.width, brush.value / 2 / SIZE * canvas.height, 0, 0, 7);
  context.stroke();
}

function tinted() {
  const copy = document.createElement("canvas");
  copy.width = copy.height = SIZE;
  const paint = copy.getContext("2d");
  paint.drawImage(mask, 0, 0);
  paint.globalCompositeOperation = "source-in";
  paint.fillStyle = "#d6336c";
  paint.fillRect(0, 0, SIZE, SIZE);
  return copy;
}

function stroke(from, to) {
  ink.strokeStyle = "white"; ink.lineCap = "round"; ink.lineWidth = Number(brush.value);
  ink.beginPath();
  ink.moveTo(from[0] * SIZE, from[1] * SIZE);
  ink.lineTo(to[0] * SIZE + 0.01, to[1] * SIZE);
  ink.stroke();
  draw();
}

let sent = null;
function send() {
  [sent, told] = [mask.toDataURL("image/png"), Date.now()];
  props.value = { mask: sent };
  trigger("input");
}

function remember() {
  steps.push(ink.getImageData(0, 0, SIZE, SIZE));
  if (steps.length > STEPS) steps.shift();
  undo.disabled = false;
}

function takeBack() {
  if (!steps.length) return;
  ink.putImageData(steps.pop(), 0, 0);
  undo.disabled = !steps.length;
  draw();
  send();
}

function clear() {
  remember();
  ink.clearRect(0, 0, SIZE, SIZE);
  draw();
  send();
}

// A mask that the server has made takes the place of what was painted.
watch("value", async () => {
  const url = props.value?.mask;
  if (!url || url === sent) return;
  const image = new Image();
  image.src = url;
  await image.decode();
  remember();
  ink.clearRect(0, 0, SIZE, SIZE);
  ink.drawImage(image, 0, 0);
  draw();
  send();
});

function offer() {
  const maps = window.camMaps ?? [], hot = root.querySelector(".hot");
  hot.hidden = !maps.length;
  const wanted = maps.map(({ key }) => key).join();
  if (hot.dataset.keys === wanted) return; // a button that has the focus keeps it
  hot.dataset.keys = wanted;
  hot.querySelectorAll("button").forEach((button) => button.remove());
  maps.forEach(({ key, title }) => {
    const button = hot.appendChild(document.createElement("button"));
    [button.type, button.textContent] = ["button", title];
    button.addEventListener("click", () => { sent = null; trigger("select", { key }); });
  });
}
window.addEventListener("cam-maps", offer);
offer();

const place = (event) => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
canvas.addEventListener("pointerdown", (event) => {
  if (!picture) return;
  canvas.setPointerCapture(event.pointerId);
  [painting, keys, cursor] = [true, false, place(event)];
  remember();
  stroke(cursor, cursor);
});
canvas.addEventListener("pointermove", (event) => {
  if (!painting) return;
  const next = place(event);
  stroke(cursor, next);
  cursor = next;
  if (Date.now() - told > EVERY) send();
});
canvas.addEventListener("pointerup", () => { if (painting) { painting = false; send(); } });
canvas.addEventListener("pointercancel", () => { painting = false; });
canvas.addEventListener("keydown", (event) => {
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) return event.preventDefault(), takeBack();
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!moves && event.key !== " " && event.key !== "Delete") return;
  event.preventDefault();
  keys = true;
  if (moves) cursor = cursor.map((at, axis) => Math.min(1, Math.max(0, at + moves[axis] * 0.04)));
  if (event.key === " ") { remember(); stroke(cursor, cursor); send(); }
  if (event.key === "Delete") clear();
  draw();
});
root.querySelector(".clear").addEventListener("click", clear);
undo.addEventListener("click", takeBack);

let shownImage = null;
async function show(url, part) {
  if (!url) return;
  if (part) seen = part;
  root.querySelector(".unseen").hidden = seen.join() === "0,0,1,1";
  if (url === shownImage) return draw();
  shownImage = url;
  const image = new Image();
  image.src = url;
  await image.decode();
  if (shownImage !== url) return;
  picture = image;
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  ink.clearRect(0, 0, SIZE, SIZE);
  [steps.length, undo.disabled] = [0, true];
  draw();
}
window.addEventListener("cam-picture", () => show(window.camPicture, window.camSeen));
show(window.camPicture, window.camSeen);
}
