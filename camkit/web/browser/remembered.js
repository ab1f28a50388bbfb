(kept, known) => {
  const update = (value, more) => ({ __type__: "update", ...(value === undefined ? {} : { value }), ...more });
  const one = (name) => (known[name].includes(kept?.[name]) ? kept[name] : undefined);
  const methods = (kept?.methods ?? []).filter((key) => known.methods.includes(key));
  const mode = one("mode"), alpha = kept?.alpha >= 0 && kept.alpha <= 1 ? kept.alpha : undefined;
  return [
    update(methods.length ? methods : undefined),
    update(alpha, { interactive: mode !== "heatmap" && mode !== "masked" }),
    update(one("colormap")),
    update(mode),
  ];
}
