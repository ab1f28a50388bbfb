// Fills the line at the top. props.value: {model, device, inputs, outputs, one, others, sentence, spoken, progress}, of which two_models.py reads others. The status for screen
// readers is written only when it says something new, not at each second of a download.
const part = (selector) => element.querySelector(selector);
function show(value) {
  if (!value || !part(".runs")) return;
  part(".runs b").textContent = value.model;
  part(".runs span").textContent = value.device;
  part(".runs small").textContent = [["inputs", value.inputs], ["outputs", value.outputs]]
    .filter(([, words]) => words).map(([name, words]) => `, ${name} ${words}`).join("");
  element.closest("main")?.classList.toggle("one-value", value.one); // style.css hides what chooses among classes
  part(".fetch").hidden = !value.sentence;
  part(".fetch span").textContent = value.sentence;
  const bar = part("progress");
  bar.hidden = value.progress === null;
  bar.value = value.progress ?? 0;
  bar.setAttribute("aria-label", "Download");
  if (part("[role=status]").textContent !== value.spoken) part("[role=status]").textContent = value.spoken;
}
watch("value", () => show(props.value));
show(props.value);
