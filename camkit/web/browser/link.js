async () => {
  const address = location.href;
  try {
    await navigator.clipboard.writeText(address);
  } catch { // no clipboard without https; the old way works there
    const box = document.body.appendChild(document.createElement("textarea"));
    box.value = address;
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  const words = new URLSearchParams(location.search).has("example") ? "Link copied: it opens on what you see." :
    "Link copied: it carries your settings, not your own picture, and opens on the first example.";
  return `<p role="status">${words}</p>`;
}
