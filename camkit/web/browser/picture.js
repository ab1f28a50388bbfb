// The box of the picture that is explained, and every way to bring an own one: the button, a drop or a paste anywhere on
// the page, the camera. "upload" is the event of a picture that the server has received: {file}, its path there. MOST: bytes of a picture. What the box shows
// comes with the maps (panels.js, "cam-picture"), so that it is always the picture that they are of.
export default function start({ element, props, trigger, watch, MOST }) {
element.querySelector(".cam-picture").innerHTML = `
  <div class="frame"><img alt="The picture that is explained" draggable="false" hidden><p class="hint">Drop a picture anywhere, paste one, or choose one below.</p>
    <div class="corner">
      <button type="button" class="enlarge" aria-label="Enlarge the picture" title="Enlarge"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/></svg></button>
      <button type="button" class="remove" aria-label="Remove the picture" title="Remove"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M6 6l12 12M18 6L6 18"/></svg></button>
    </div></div>
  <div class="bar">
    <button type="button" class="own main">Use your own picture</button>
    <button type="button" class="camera" aria-label="Take a picture with the camera" title="Camera"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 8h4l2-3h4l2 3h4v11H4z"/><circle cx="12" cy="13" r="3.5"/></svg></button>
    <button type="button" class="paste" aria-label="Paste a picture from the clipboard" title="Paste"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5H5v16h14V5h-3M8 3h8v4H8z"/></svg></button>
  </div>
  <input type="file" accept="image/*" hidden>
  <p class="said" role="status"></p>
  <dialog class="shot"><video autoplay muted playsinline></video><div class="bar"><button type="button" class="take main">Take the picture</button><button type="button" class="cancel">Cancel</button></div></dialog>
  <div class="drop" hidden><p>Drop the picture to explain it</p></div>`;
const part = (selector) => element.querySelector(selector);
const image = part(".frame img"), chooser = part("input"), shot = part("dialog"), video = part("video");

function show(url) {
  [image.hidden, part(".hint").hidden, part(".corner").hidden] = [!url, Boolean(url), !url];
  if (url) image.src = url;
}

function say(words) {
  part(".said").textContent = words;
}

async function send(file) {
  if (file.size > MOST) return say(`The picture has ${Math.round(file.size / 1e6)} MB: at most ${MOST / 1e6} MB are allowed.`);
  say("Sending the picture ...");
  const form = new FormData();
  form.append("files", file, file.name || "picture.png");
  try {
    const answer = await fetch(`${window.gradio_config?.root ?? ""}/gradio_api/upload`, { method: "POST", body: form });
    const found = await answer.json();
    say(answer.ok ? "" : found.detail);
    if (answer.ok) trigger("upload", { file: found[0] });
  } catch {
    say("The picture could not be sent: check the connection and try again.");
  }
}

// A picture that another tab has put among the uploads.
window.addEventListener("cam-take", (event) => trigger("upload", { file: event.detail }));
part(".own").addEventListener("click", () => chooser.click());
chooser.addEventListener("change", () => {
  if (chooser.files.length) send(chooser.files[0]);
  chooser.value = ""; // so that the same file can be chosen again
});
part(".remove").addEventListener("click", () => { show(""); part(".own").focus(); });
part(".enlarge").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : part(".frame").requestFullscreen()));

// --- drop and paste, anywhere ---

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const elsewhere = (event) => event.composedPath().some((each) => each.id === "zip"); // it takes files of its own
const listen = (name, take) => window.addEventListener(name, (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault(); // or the browser opens the file in a tab
  take(event);
}, true);
const veil = (seen) => { part(".drop").hidden = !seen; };
listen("dragover", (event) => veil(!elsewhere(event)));
listen("dragleave", (event) => { if (!event.relatedTarget) veil(false); });
listen("drop", (event) => {
  veil(false);
  if (elsewhere(event)) return;
  event.stopPropagation();
  if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
});
window.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  send(file);
});
part(".paste").addEventListener("click", async () => {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((each) => each.startsWith("image/"));
      if (type) return send(new File([await item.getType(type)], "picture", { type }));
    }
    say("There is no picture in the clipboard: copy one first.");
  } catch {
    say("The browser does not let this page read the clipboard: press Ctrl+V instead.");
  }
});

// --- the camera ---

part(".camera").hidden = !navigator.mediaDevices; // browsers offer none without https
part(".camera").addEventListener("click", async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    shot.showModal();
  } catch {
    say("The camera cannot be used: the browser found none, or was not allowed to open it.");
  }
});
shot.addEventListener("close", () => video.srcObject.getTracks().forEach((track) => track.stop()));
part(".cancel").addEventListener("click", () => shot.close());
part(".take").addEventListener("click", () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => send(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.95);
  shot.close();
});

window.addEventListener("cam-picture", () => { say(""); show(window.camPicture); });
show(window.camPicture);
}
