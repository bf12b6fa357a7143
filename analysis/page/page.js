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

const axisStyle = { gridcolor: "#e3e3e3", zerolinecolor: "#bbbbbb" };
const layout = { font: { family: "system-ui, sans-serif", size: 12, color: "#1d1d1f" },
                 paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", autosize: true };
const config = { displayModeBar: false, responsive: true };

function drawCurves(Plotly, place, cell) {
  const traces = [];
  for (const [source, curves] of Object.entries(cell.curves)) {
    curves.forEach((curve, index) => {
      traces.push({ x: curve.k, y: curve.bic.map((value) => value + 1), mode: "lines", type: "scatter",
        name: cell.names[source], legendgroup: source, showlegend: index === 0,
        line: { color: cell.colors[source], width: 1 }, opacity: 0.7,
        hovertemplate: "k = %{x}<br>%{text}<extra>" + cell.names[source] + "</extra>",
        text: curve.bic.map((value) => value + " above its minimum, " + curve.seeds) });
    });
    const best = curves.filter((curve) => curve.best !== null);
    traces.push({ x: best.map((curve) => curve.best), y: best.map(() => 1), mode: "markers",
      type: "scatter", legendgroup: source, showlegend: false, cliponaxis: false,
      marker: { color: cell.colors[source], size: 8, line: { color: "#ffffff", width: 1 } },
      text: best.map((curve) => curve.seeds),
      hovertemplate: "k* = %{x}<br>%{text}<extra>" + cell.names[source] + "</extra>" });
  }
  const [low, high] = cell.range;
  const span = { type: "rect", x0: low, x1: high, y0: 0, y1: 1, yref: "paper",
                 fillcolor: "#e69f00", opacity: 0.15, line: { width: 0 }, layer: "below" };
  const mark = (x, dash, color) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper",
                                      line: { color, dash, width: 1 } });
  return Plotly.newPlot(place, traces, { ...layout, height: 340, margin: { l: 60, r: 10, t: 10, b: 45 },
    xaxis: { ...axisStyle, title: { text: "components k" } },
    yaxis: { ...axisStyle, type: "log", title: { text: "1 + BIC above its minimum" }, exponentformat: "power" },
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
    [axis + "axis", { ...axisStyle, title: { text: name(axis) }, range }]));
  const scene = solid
    ? { scene: { ...axes, aspectmode: "data", camera: { eye: { x: 1.6, y: -1.85, z: 1.0 } } } }
    : axes;
  return Plotly.newPlot(place, traces, { ...layout, height: 420, showlegend: false,
    margin: solid ? { l: 0, r: 0, t: 0, b: 0 } : { l: 50, r: 10, t: 10, b: 45 }, ...scene }, config);
}

function drawPlane(Plotly, place, cell) {
  const plane = cell.plane;
  return Plotly.newPlot(place, [{ x: plane.x, y: plane.y, type: "scatter", mode: "markers",
    text: hoverOf(plane), hovertemplate: "%{text}<extra></extra>",
    marker: { color: colorsOf(plane, cell.palette), size: 5, opacity: 0.8 } }],
    { ...layout, height: 340, margin: { l: 60, r: 10, t: 10, b: 45 },
      xaxis: { ...axisStyle, title: { text: plane.names[0] } },
      yaxis: { ...axisStyle, title: { text: plane.names[1] }, showticklabels: plane.names[1] !== "" } }, config);
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
    }
    if (places.plane && cell.plane) await drawPlane(Plotly, places.plane, cell);
  }
  section.dataset.state = "drawn";
}

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.matches("details.cell")) target.open = true;
}

document.querySelectorAll("details.cell").forEach((section) => {
  section.addEventListener("toggle", () => {
    if (section.open && !section.dataset.state) {
      section.dataset.state = "drawing";
      openCell(section);
    }
  });
});
document.querySelectorAll("input.cell-filter").forEach((input) => {
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    input.closest("section").querySelectorAll("details.cell").forEach((section) => {
      const text = section.querySelector("summary").textContent.toLowerCase();
      section.hidden = !words.every((word) => text.includes(word));
    });
  });
});
window.addEventListener("hashchange", openTarget);
openTarget();
Promise.all([...document.querySelectorAll("table.sortable")].map((table) => makeTable(table)))
  .then(() => { document.documentElement.dataset.state = "ready"; });
