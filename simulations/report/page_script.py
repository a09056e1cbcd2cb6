"""The script of every page, as a module: a Flower app carries no other kind of file."""

SCRIPT = r""""use strict";
// Draws the figures of a page in the reader's theme. Each figure element holds its plotly
// specification, gzipped; colours in it are theme names ("@1", "@ink", "@2/40" = 40 % opaque).
(() => {
  const root = document.documentElement;
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = (() => { try { return localStorage.getItem("fedwatt-theme"); } catch { return null; } })();
  let theme = themes.includes(remembered) ? remembered : "system";

  const applyTheme = () => {
    if (theme === "system") root.removeAttribute("data-theme"); else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  applyTheme();
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem("fedwatt-theme", theme); } catch { /* private mode: not remembered */ }
    applyTheme();
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());

  const unpack = async (element) => {
    const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  const colour = (style, name) => {
    const [key, opacity] = name.slice(1).split("/");
    const value = style.getPropertyValue(/^\d$/.test(key) ? `--c${key}` : `--${key}`).trim();
    if (!opacity) return value;
    return value + Math.round(Number(opacity) * 2.55).toString(16).padStart(2, "0");
  };
  // Only colour keys are looked up: a household may be called "@1".
  const themed = (value, style, key = "") => {
    if (typeof value === "string") return /color(scale)?$/.test(key) && value[0] === "@" ? colour(style, value) : value;
    if (Array.isArray(value)) return value.length && typeof value[0] === "number" ? value : value.map((v) => themed(v, style, key));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, style, k)]));
    return value;
  };
  const merge = (base, top) => {
    const out = { ...base };
    for (const [key, value] of Object.entries(top))
      out[key] = value && typeof value === "object" && !Array.isArray(value) && base[key] ? merge(base[key], value) : value;
    return out;
  };
  const axis = {
    spikecolor: "@muted", spikethickness: 1, spikedash: "solid",
    gridcolor: "@grid", linecolor: "@line", zerolinecolor: "@muted", automargin: true,
    zeroline: false, tickfont: { color: "@muted", size: 12 }, title: { font: { color: "@muted", size: 12 }, standoff: 8 },
  };
  const baseLayout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, color: "@ink", size: 13 },
    margin: { l: 8, r: 12, t: 8, b: 8 }, hovermode: "x unified", hoversubplots: "axis",
    hoverlabel: { bgcolor: "@panel", bordercolor: "@line", font: { color: "@ink", size: 12 } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } },
  };
  // A finger scrolls the page; only a mouse drags out a zoom.
  const dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
  const config = { responsive: true, displayModeBar: false, displaylogo: false };

  const figures = [];
  const draw = (figure) => {
    const style = getComputedStyle(root);
    const { spec, plot, select } = figure;
    const traces = spec.traces.map((trace, k) => {
      if (!spec.choices) return trace;
      const scale = spec.choices.scale;
      const y = spec.choices.values[select.selectedIndex][k].map((v) => (v === null ? null : v * scale));
      return { ...trace, y };
    });
    const layout = { ...spec.layout };
    for (const key of ["xaxis", "yaxis"]) layout[key] = layout[key] || {};
    for (const key of Object.keys(layout)) if (/^[xy]axis\d*$/.test(key)) layout[key] = merge(axis, layout[key]);
    return Plotly.react(plot, themed(traces, style), themed({ ...merge(baseLayout, layout), dragmode }, style), config);
  };
  const drawAll = () => figures.forEach(draw);

  // The choice is kept in the address (#Household=B03), so a view can be linked to.
  const choose = (figure, index) => {
    const { select, steps, note, spec, label } = figure;
    select.selectedIndex = index;
    steps[0].disabled = index === 0;
    steps[1].disabled = index === select.options.length - 1;
    note.textContent = spec.choices.notes[index] || "";
    figure.plot.setAttribute("aria-label", `${spec.title}: ${label} ${spec.choices.names[index]}`);
    draw(figure);
  };
  const remember = (figure) =>
    history.replaceState(null, "", `#${figure.label}=${encodeURIComponent(figure.select.value)}`);
  const fromAddress = (scroll) => {
    const [label, name] = location.hash.slice(1).split("=");
    if (name === undefined) return;
    for (const figure of figures.filter((f) => f.select && f.label === label)) {
      const index = figure.spec.choices.names.indexOf(decodeURIComponent(name));
      if (index < 0) continue;
      choose(figure, index);
      if (scroll) figure.element.scrollIntoView();
    }
  };
  const connect = (figure) => {
    const chooser = figure.element.querySelector(".chooser");
    figure.select = chooser.querySelector("select");
    figure.steps = [...chooser.querySelectorAll("button")];
    figure.note = figure.element.querySelector(".choice-note");
    figure.label = chooser.querySelector("label").firstChild.textContent.trim();
    figure.select.addEventListener("change", () => { choose(figure, figure.select.selectedIndex); remember(figure); });
    for (const step of figure.steps)
      step.addEventListener("click", () => {
        choose(figure, figure.select.selectedIndex + Number(step.dataset.step));
        remember(figure);
      });
    choose(figure, 0);
  };

  const start = async () => {
    const library = document.getElementById("plotly");
    if (!library) return;
    const script = document.createElement("script");
    script.textContent = await unpack(library);
    document.head.append(script);
    for (const element of document.querySelectorAll("figure")) {
      const packed = element.querySelector(".spec");
      if (!packed) continue;
      const figure = { element, plot: element.querySelector(".plot"), spec: JSON.parse(await unpack(packed)) };
      figures.push(figure);
      if (figure.spec.choices) connect(figure); else draw(figure);
      await new Promise((resolve) => setTimeout(resolve)); // the reader can scroll meanwhile
    }
    fromAddress(true);
    addEventListener("hashchange", () => fromAddress(true));
    root.dataset.drawn = "yes";
  };
  start().catch((error) => {
    const text = document.createElement("p");
    text.className = "warning";
    text.textContent = `The pictures cannot be drawn in this browser (${error.message}). The tables hold the figures.`;
    document.getElementById("main").prepend(text);
  });
})();
"""
