"use strict";
// The page works without this script: tables are then plain, those of many rows empty, and cells
// show their facts alone.

const modules = {};

async function unpack(id) {
  const text = document.getElementById(id).textContent.trim();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function once(name, make) {
  modules[name] = modules[name] || make();
  return modules[name];
}

function dataTables() {
  return once("tables", async () => {
    const style = document.createElement("style");
    style.textContent = await unpack("packed-tables-css");
    document.head.prepend(style);
    const code = await unpack("packed-tables-js");
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const module = await import(url);
    URL.revokeObjectURL(url);
    return module.default;
  });
}

function plotly() {
  return once("plotly", async () => {
    const script = document.createElement("script");
    script.textContent = await unpack("packed-plotly");
    document.head.append(script);
    return window.Plotly;
  });
}

async function makeTable(table, options = {}) {
  const DataTable = await dataTables();
  if (table.dataset.rows) table.tBodies[0].innerHTML = await unpack(table.dataset.rows);
  const rows = options.data ? options.data.length : table.tBodies[0].rows.length;
  const name = table.dataset.name;
  const made = new DataTable(table, {
    paging: rows > 30,
    pageLength: 25,
    info: rows > 30,
    order: [],
    // "q = 3" is one name, not a 3 anywhere in the row.
    search: { smart: false },
    autoWidth: false,
    layout: { topStart: rows > 30 ? "pageLength" : null, topEnd: "search",
              bottomStart: rows > 30 ? "info" : null, bottomEnd: rows > 30 ? "paging" : null },
    language: { search: "Filter " + name + ":", emptyTable: "no rows" },
    ...options,
  });
  made.table().container().querySelectorAll("nav").forEach((pages) =>
    pages.setAttribute("aria-label", "Pages of " + name + (table.closest("details") ? " in " + table.closest("details").id : "")));
  return made;
}

// Colours of the present theme, for Plotly, which does not read the page's style.
function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function axisStyle() {
  return { gridcolor: ink("rule"), zerolinecolor: ink("edge"), linecolor: ink("edge"), color: ink("ink") };
}

function baseLayout() {
  return { font: { family: "system-ui, sans-serif", size: 12, color: ink("ink") },
           paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true };
}

// Black, the colour of true data, is not seen on a dark ground.
function seenColor(color) {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || matchMedia("(prefers-color-scheme: dark)").matches && document.documentElement.dataset.theme !== "light";
  return dark && color === "#1a1a1a" ? "#e8e8ea" : color;
}

const config = { displayModeBar: false, responsive: true };

function drawCurves(Plotly, place, cell) {
  const traces = [];
  for (const [source, curves] of Object.entries(cell.curves)) {
    curves.forEach((curve, index) => {
      traces.push({ x: curve.k, y: curve.bic.map((value) => value + 1), mode: "lines", type: "scatter",
        name: cell.names[source], legendgroup: source, showlegend: index === 0,
        line: { color: seenColor(cell.colors[source]), width: 1 }, opacity: 0.7,
        hovertemplate: "k = %{x}<br>%{text}<extra>" + cell.names[source] + "</extra>",
        text: curve.bic.map((value) => value + " above its minimum, " + curve.seeds) });
    });
    const best = curves.filter((curve) => curve.best !== null);
    traces.push({ x: best.map((curve) => curve.best), y: best.map(() => 1), mode: "markers",
      type: "scatter", legendgroup: source, showlegend: false, cliponaxis: false,
      marker: { color: seenColor(cell.colors[source]), size: 8, line: { color: "#ffffff", width: 1 } },
      text: best.map((curve) => curve.seeds),
      hovertemplate: "k* = %{x}<br>%{text}<extra>" + cell.names[source] + "</extra>" });
  }
  const [low, high] = cell.range;
  const span = { type: "rect", x0: low, x1: high, y0: 0, y1: 1, yref: "paper",
                 fillcolor: "#e69f00", opacity: 0.15, line: { width: 0 }, layer: "below" };
  const mark = (x, dash, color) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper",
                                      line: { color, dash, width: 1 } });
  return Plotly.newPlot(place, traces, { ...baseLayout(), height: 340, margin: { l: 60, r: 10, t: 10, b: 45 },
    xaxis: { ...axisStyle(), title: { text: "components k" } },
    yaxis: { ...axisStyle(), type: "log", title: { text: "1 + BIC above its minimum" }, exponentformat: "power" },
    legend: { orientation: "h", y: -0.25 },
    shapes: [span, mark(high, "dash", "#8c2d04"), mark(cell.true_k, "dot", "#6b6b6b")] }, config);
}

const colorsOf = (columns, palette) => columns.c.map((index) => palette[index] || "#6b6b6b");
const hoverOf = (columns) => columns.c.map((index) => "true component " + (index + 1));

function drawClouds(Plotly, place, cell) {
  const sources = Object.keys(cell.clouds);
  const solid = "z" in cell.clouds[sources[0]];
  const ends = {};
  for (const axis of solid ? ["x", "y", "z"] : ["x", "y"]) {
    const all = sources.flatMap((source) => cell.clouds[source][axis]);
    ends[axis] = [Math.min(...all), Math.max(...all)];
  }
  const traces = sources.map((source, index) => {
    const cloud = cell.clouds[source];
    return { ...cloud, c: undefined, type: solid ? "scatter3d" : "scatter", mode: "markers",
      name: cell.names[source], visible: index === 0, text: hoverOf(cloud),
      marker: { color: colorsOf(cloud, cell.palette), size: solid ? 2.6 : 5, opacity: 0.85 },
      hovertemplate: "%{text}<extra>" + cell.names[source] + "</extra>" };
  });
  const name = (axis) => "x" + ("xyz".indexOf(axis) + 1);
  const axes = Object.fromEntries(Object.entries(ends).map(([axis, range]) =>
    [axis + "axis", { ...axisStyle(), title: { text: name(axis) }, range }]));
  const scene = solid
    ? { scene: { ...axes, aspectmode: "data", camera: { eye: { x: 1.6, y: -1.85, z: 1.0 } } } }
    : axes;
  return Plotly.newPlot(place, traces, { ...baseLayout(), height: 420, showlegend: false,
    margin: solid ? { l: 0, r: 0, t: 0, b: 0 } : { l: 50, r: 10, t: 10, b: 45 }, ...scene }, config);
}

function drawPlane(Plotly, place, cell) {
  const plane = cell.plane;
  return Plotly.newPlot(place, [{ x: plane.x, y: plane.y, type: "scatter", mode: "markers",
    text: hoverOf(plane), hovertemplate: "%{text}<extra></extra>",
    marker: { color: colorsOf(plane, cell.palette), size: 5, opacity: 0.8 } }],
    { ...baseLayout(), height: 340, margin: { l: 60, r: 10, t: 10, b: 45 },
      xaxis: { ...axisStyle(), title: { text: plane.names[0] } },
      yaxis: { ...axisStyle(), title: { text: plane.names[1] }, showticklabels: plane.names[1] !== "" } }, config);
}

// Turns the camera about the vertical axis or tilts it; keys and buttons do what the mouse does.
function turn(Plotly, place, sideways, upwards) {
  const eye = place._fullLayout.scene.camera.eye;
  const radius = Math.hypot(eye.x, eye.y, eye.z);
  const azimuth = Math.atan2(eye.y, eye.x) + sideways;
  const tilt = Math.max(-1.5, Math.min(1.5, Math.asin(eye.z / radius) + upwards));
  return Plotly.relayout(place, { "scene.camera.eye": {
    x: radius * Math.cos(tilt) * Math.cos(azimuth), y: radius * Math.cos(tilt) * Math.sin(azimuth),
    z: radius * Math.sin(tilt) } });
}

const TURNS = { left: [-0.3, 0], right: [0.3, 0], up: [0, 0.2], down: [0, -0.2] };

function wireClouds(Plotly, section, place, cell) {
  const sources = Object.keys(cell.clouds);
  section.querySelectorAll("button[data-source]").forEach((button) => {
    button.hidden = !sources.includes(button.dataset.source);
    button.addEventListener("click", () => {
      section.querySelectorAll("button[data-source]").forEach((other) =>
        other.setAttribute("aria-pressed", String(other === button)));
      Plotly.restyle(place, { visible: sources.map((source) => source === button.dataset.source) });
    });
  });
  const solid = "z" in cell.clouds[sources[0]];
  section.querySelectorAll("button[data-turn]").forEach((button) => {
    button.hidden = !solid;
    button.addEventListener("click", () => turn(Plotly, place, ...TURNS[button.dataset.turn]));
  });
}

function escaped(value) {
  const span = document.createElement("span");
  span.textContent = value === null ? "" : value;
  return span.innerHTML;
}

// A count at the ceiling, "14+", is a number to sort by.
function columnOf(title, values) {
  const numeric = values.every((value) => value === null || value === "" || /^-?[\d.]+\+?$/.test(value));
  const key = (value) => (numeric ? parseFloat(value === null || value === "" ? "-Infinity" : value) : value);
  return { title, type: numeric ? "num" : "string", className: numeric ? "dt-right" : "",
    render: (value, kind) => (kind === "sort" || kind === "type" ? key(value) : escaped(value)) };
}

async function openCell(section) {
  const cell = JSON.parse(await unpack(section.dataset.payload));
  const table = section.querySelector("table.seeds");
  await makeTable(table, {
    data: cell.seeds.rows,
    columns: cell.seeds.columns.map((title, index) => columnOf(title, cell.seeds.rows.map((row) => row[index]))),
  });
  const places = Object.fromEntries(["curves", "clouds", "plane"].map((name) =>
    [name, section.querySelector("." + name)]));
  if (places.curves || places.clouds) {
    const Plotly = await plotly();
    if (places.curves) await drawCurves(Plotly, places.curves, cell);
    if (places.clouds && cell.clouds) {
      await drawClouds(Plotly, places.clouds, cell);
      wireClouds(Plotly, section, places.clouds, cell);
      scrollPast(places.clouds);
    }
    if (places.plane && cell.plane) await drawPlane(Plotly, places.plane, cell);
  }
  section.dataset.state = "drawn";
}

// The wheel scrolls the page; it zooms a picture only after a click into it.
function scrollPast(place) {
  place.addEventListener("wheel", (event) => {
    if (!place.contains(document.activeElement) && !place.dataset.held) event.stopPropagation();
  }, { capture: true, passive: true });
  place.addEventListener("pointerdown", () => { place.dataset.held = "yes"; });
  place.addEventListener("pointerleave", () => { delete place.dataset.held; });
}

const MOST_CHOSEN = 3;
const chosen = [];

function markRows() {
  const names = new Set(chosen.map((section) => section.dataset.cell));
  document.querySelectorAll("tr[data-cell]").forEach((row) =>
    row.classList.toggle("chosen", names.has(row.dataset.cell)));
}

// Opens a cell beside those that are open; the oldest gives way to a fourth.
function choose(section, { scroll = false } = {}) {
  section.open = true;
  if (scroll) section.scrollIntoView({ block: "nearest" });
}

function sectionOf(name, root = document) {
  return [...root.querySelectorAll("details.cell")].find((one) => one.dataset.cell === name);
}

function chooseByName(name, origin) {
  const sweep = (origin && origin.closest(".sweep")) || document;
  const section = sectionOf(name, sweep);
  if (!section) return;
  if (section.open) { section.open = false; return; }
  choose(section, { scroll: true });
  const hash = "#" + (sweep.dataset ? sweep.dataset.at : "") + "cell=" + encodeURIComponent(section.dataset.short);
  history.replaceState(null, "", hash);
}

function openTarget() {
  if (!location.hash) return;
  const wanted = decodeURIComponent(location.hash.slice(1));
  const byCell = wanted.match(/^(.*?)cell=(.+)$/);
  if (byCell) {
    const short = byCell[2];
    const section = [...document.querySelectorAll("details.cell")].find((one) =>
      one.dataset.short === short && one.id.startsWith(byCell[1] + "cell-"));
    if (section) choose(section, { scroll: true });
    return;
  }
  const target = document.getElementById(wanted);
  if (!target) return;
  for (let place = target; place; place = place.parentElement) {
    if (place.matches("details")) place.open = true;
  }
  if (target.matches("details")) target.scrollIntoView();
}

function wireTheme() {
  const button = document.querySelector("button.theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const say = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  say();
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch (error) { /* no storage */ }
    say();
    document.dispatchEvent(new Event("themechange"));
  });
  document.addEventListener("themechange", () => {
    document.querySelectorAll(".js-plotly-plot").forEach((place) => {
      const changes = { "font.color": ink("ink") };
      Object.keys(place.layout).filter((name) => /^[xy]axis/.test(name)).forEach((name) => {
        for (const [key, value] of Object.entries(axisStyle())) changes[name + "." + key] = value;
      });
      window.Plotly.relayout(place, changes);
    });
  });
}

function wireContents() {
  const links = [...document.querySelectorAll(".rail a[href^='#']")];
  const places = links.map((link) => document.getElementById(link.hash.slice(1))).filter(Boolean);
  const mark = () => {
    const passed = places.filter((place) => place.getBoundingClientRect().top < innerHeight / 3);
    const current = passed.length ? passed[passed.length - 1] : places[0];
    links.forEach((link) => {
      if (current && link.hash === "#" + current.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  };
  const watcher = new IntersectionObserver(mark, { threshold: [0, 0.25, 0.5, 1] });
  places.forEach((place) => watcher.observe(place));
  mark();
}

function wireTables() {
  const lazy = (table) => { if (!table.dataset.made) { table.dataset.made = "yes"; return makeTable(table); } return null; };
  const tables = [...document.querySelectorAll("table.sortable")];
  tables.forEach((table) => {
    const fold = table.closest("details.fold");
    if (fold) fold.addEventListener("toggle", () => { if (fold.open) lazy(table); });
  });
  return Promise.all(tables.filter((table) => !table.closest("details.fold:not([open])")).map(lazy));
}

document.querySelectorAll("details.cell").forEach((section) => {
  section.addEventListener("toggle", () => {
    const place = chosen.indexOf(section);
    if (!section.open) {
      if (place >= 0) chosen.splice(place, 1);
    } else if (place < 0) {
      chosen.push(section);
      if (chosen.length > MOST_CHOSEN) chosen[0].open = false;
      if (!section.dataset.state) { section.dataset.state = "drawing"; openCell(section); }
    }
    markRows();
  });
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  const row = event.target.closest("tr[data-cell], svg.hero-chart [data-cell]");
  if (!row || (link && !row.contains(link))) return;
  if (link) event.preventDefault();
  chooseByName(row.dataset.cell, row);
});
window.addEventListener("hashchange", openTarget);
window.addEventListener("beforeprint", () => document.querySelectorAll("details.fold").forEach((fold) => { fold.open = true; }));
wireTheme();
wireContents();
// What is asked for by the address comes first.
openTarget();
wireTables().then(() => { document.documentElement.dataset.state = "ready"; });
