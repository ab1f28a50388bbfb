// A list of buttons, each with a data-index: a click is the event "select" with that index. The list may be written anew
// after a click, so the button that had the keyboard's focus gets it back.
// Pictures name their path from the server's root on, which the page knows.
let focused = null;
element.querySelectorAll('img[data-path]').forEach((picture) => { picture.src = (window.gradio_config?.root ?? '') + picture.dataset.path; });
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (!button) return;
  focused = button.dataset.index;
  trigger('select', {index: Number(focused)});
});
watch('value', () => {
  if (focused !== null && document.activeElement === document.body) element.querySelector(`button[data-index="${focused}"]`)?.focus({preventScroll: true});
});
