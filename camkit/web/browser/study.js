// The report's browser of a study in a frame of its own. props.value: {page}, or null. "select" is the event of the picture
// that is to come to the first screen: {name}.
export default function start({ element, props, trigger, watch }) {
const host = element.querySelector(".cam-study");

function show(value) {
  host.replaceChildren();
  if (!value?.page) return;
  const frame = document.createElement("iframe"), theme = document.body.classList.contains("dark") ? "dark" : "light";
  frame.title = "The pictures of the study";
  frame.srcdoc = value.page.replace('<html lang="en"', `<html lang="en" class="${theme}"`);
  host.append(frame);
}

window.addEventListener("message", (event) => {
  const name = event.data?.camkitPicture, frame = host.querySelector("iframe");
  if (frame && event.source === frame.contentWindow && typeof name === "string") trigger("select", { name });
});
watch("value", () => show(props.value));
show(props.value);
}
