(alpha, colormap, mode) => {
  window.camView = {alpha, colormap, mode};
  window.dispatchEvent(new CustomEvent('cam-view', {detail: window.camView}));
}
