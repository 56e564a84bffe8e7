(() => {
  "use strict";
  const holders = [...document.querySelectorAll(".plot")];
  const spec = (holder) => JSON.parse(document.getElementById(`${holder.id}-data`).textContent);
  // The page knows whether it is light, dark or paper: figures take their inks from its styles.
  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const themed = (layout) => {
    const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), tickcolor: colour("--line") };
    const shown = {
      ...layout,
      font: { ...layout.font, color: colour("--ink") },
      // Words on lines are read against the page.
      annotations: (layout.annotations || []).map((one) => ({ bgcolor: colour("--page"), ...one })),
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    };
    // Of several panels each has its axes: xaxis, xaxis2, …
    Object.keys(layout).filter((name) => /^[xy]axis/.test(name))
      .forEach((name) => { shown[name] = { ...layout[name], ...axis }; });
    return shown;
  };
  const narrow = () => window.innerWidth < 600;
  const heights = new Map(holders.map((holder) => [holder, holder.offsetHeight]));
  // Names stand below one another on a narrow page: the figure grows, and they are not scrolled.
  const roomFor = (data, height) =>
    Math.max(height, 160 + 36 * data.filter((trace) => trace.name && trace.showlegend !== false).length);
  const PAPER_PIXELS = 680; // between the margins of A4, and of Letter
  let onPaper = false;
  const draw = (holder) => {
    const { data, layout } = spec(holder);
    const shown = themed(layout);
    data.forEach((trace) => {
      if (trace.texttemplate) trace.textfont = { color: colour("--ink") };
    });
    holder.style.height = `${heights.get(holder)}px`;
    if (onPaper) {
      shown.width = PAPER_PIXELS; // a window's width would be cut off
    } else if (narrow()) {
      holder.style.height = `${roomFor(data, heights.get(holder))}px`;
      shown.legend = { ...shown.legend, maxheight: 1000 };
      // Square cells leave a tall figure empty on a narrow page.
      if (layout.yaxis.scaleanchor) holder.style.height = `${holder.clientWidth + 60}px`;
      shown.font.size = 11;
      shown.margin = { ...shown.margin, l: 44, r: 6 };
      shown.dragmode = false; // a finger on a figure scrolls the page
    }
    return Plotly.react(holder, data, shown, { responsive: true, displayModeBar: false });
  };
  const all = () => holders.forEach(draw);
  all();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((part) => { part.open = true; });
    onPaper = true;
    all();
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((part) => { part.open = false; });
    onPaper = false;
    all();
  });
})();
