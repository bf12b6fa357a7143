// The chart to explore. Numbers and words come from Python; this only places them on the axes.

function optionsOf(select, entries, value) {
  select.replaceChildren(...entries.map(([key, text]) => new Option(text, key)));
  select.value = value;
}

function ticksOf(set, names, chosen) {
  names.forEach(([key, text]) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", value: key, checked: chosen.includes(key) });
    label.append(box, " " + text);
    set.append(label);
  });
}

class Explorer {
  constructor(form) {
    this.form = form;
    this.place = document.getElementById(form.dataset.for);
    this.key = this.place.id.replace(/-chart$/, "");
  }

  async start() {
    this.data = JSON.parse(await unpack(this.place.dataset.payload));
    this.Plotly = await plotly();
    this.fill();
    await this.draw();
    this.form.hidden = false;
    this.form.addEventListener("change", () => { this.draw(); this.keep(); });
    this.form.png.addEventListener("click", () =>
      this.Plotly.downloadImage(this.place, { format: "png", width: 1200, height: 600, filename: this.key }));
    this.place.on("plotly_click", (event) => {
      const cell = event.points[0].customdata;
      if (cell) chooseByName(cell, this.place);
    });
    this.place.dataset.state = "drawn";
  }

  // Fills the choices from the address, else from the figure that Python made.
  fill() {
    const { quantities, factors, sources } = this.data;
    const known = quantities.map((one) => one.name);
    const kept = new URLSearchParams(location.hash.startsWith("#" + this.key + "?") ? location.hash.slice(this.key.length + 2) : "");
    const less = kept.has("y") ? kept.get("less") === "1" : known.includes("extra");
    optionsOf(this.form.y, quantities.filter((one) => one.name !== "extra").map((one) => [one.name, one.short]),
      known.includes(kept.get("y")) ? kept.get("y") : known.includes("k") ? "k" : known[0]);
    const axes = factors.map((one, index) => [String(index), one.title]);
    optionsOf(this.form.x, [...axes, ["cell", "cell"]], kept.get("x") || (factors.length ? "0" : "cell"));
    optionsOf(this.form.colour, [["source", "source and protocol"], ...axes], kept.get("colour") || (factors.length > 1 ? "1" : "source"));
    optionsOf(this.form.facet, [["", "one"], ...axes], kept.get("facet") || (factors.length > 2 ? "2" : ""));
    if (!Object.keys(this.data.points).length) this.form.show.querySelectorAll("option:not([value=means])").forEach((one) => one.remove());
    this.form.show.value = kept.get("show") || "means";
    this.form.less.checked = less;
    this.form.log.checked = kept.get("log") === "1";
    const pairs = quantities.flatMap((one) => one.pairs);
    const names = [...new Set(pairs.map((pair) => pair[0]))];
    const protocols = [...new Set(pairs.map((pair) => pair[1]))];
    const wanted = (name, otherwise) => (kept.has(name) ? kept.get(name).split(",") : otherwise);
    ticksOf(this.form.querySelector(".sources"), names.map((name) => [name, sources[name]]), wanted("sources", ["samples"]));
    ticksOf(this.form.querySelector(".protocols"), protocols.map((name) => [name, name]), wanted("protocols", protocols.includes("calibrated") ? ["calibrated"] : protocols));
  }

  choice() {
    const checked = (name) => [...this.form.querySelectorAll("." + name + " input:checked")].map((box) => box.value);
    const form = this.form;
    const canLess = form.y.value === "k" && this.data.quantities.some((one) => one.name === "extra");
    return { y: form.y.value, quantity: canLess && form.less.checked ? "extra" : form.y.value, canLess,
      x: form.x.value, colour: form.colour.value, facet: form.facet.value, show: form.show.value,
      less: form.less.checked, log: form.log.checked, sources: checked("sources"), protocols: checked("protocols") };
  }

  keep() {
    const one = this.choice();
    const query = new URLSearchParams({ y: one.y, x: one.x, colour: one.colour, facet: one.facet, show: one.show,
      less: one.less ? "1" : "0", log: one.log ? "1" : "0", sources: one.sources.join(","), protocols: one.protocols.join(",") });
    history.replaceState(null, "", "#" + this.key + "?" + query);
  }

  // The rows that are chosen, each with its cell's place on the axes.
  rows(choice) {
    const cells = new Map(this.data.cells.map((cell) => [cell.name, cell]));
    const level = (cell, axis) => (axis === "cell" ? cell.text : axis === "" ? "" : cell.levels[Number(axis)]);
    return this.data.rows.filter(([quantity, source, protocol]) => quantity === choice.quantity &&
      (!source || (choice.sources.includes(source) && choice.protocols.includes(protocol))))
      .map(([quantity, source, protocol, name, estimate, low, high, hover]) => {
        const cell = cells.get(name);
        const what = source ? this.data.sources[source] + ", " + protocol : "";
        const own = choice.colour === "source" ? "" : level(cell, choice.colour);
        const group = choice.colour === "source" ? what : this.data.factors[Number(choice.colour)].short + " = " + own;
        return { source, protocol, name, estimate, low, high, hover, what,
          key: quantity + "|" + source + "|" + protocol, group: choice.colour !== "source" && this.several ? group + ", " + what : group,
          x: level(cell, choice.x), colour: own, facet: level(cell, choice.facet) };
      });
  }

  order(axis, rows, field) {
    const present = new Set(rows.map((row) => row[field]));
    const all = axis === "cell" || axis === "source" || axis === "" ? [...present] : this.data.factors[Number(axis)].levels;
    return all.filter((one) => present.has(one));
  }

  colorOf(group, index, groups, row) {
    if (this.choice().colour === "source" && row.source && this.choice().protocols.length === 1) return seenColor(this.data.colors[row.source]);
    const shades = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c1f", "#aa4499", "#777777"];
    return shades[index % shades.length];
  }

  async draw() {
    const choice = this.choice();
    const { form } = this;
    const counted = ["k", "coverage"].includes(choice.y);
    form.querySelectorAll(".sources, .protocols").forEach((set) => { set.hidden = !counted; });
    form.less.closest("label").hidden = !choice.canLess;
    this.several = counted && choice.sources.length * choice.protocols.length > 1;
    const rows = this.rows(choice);
    const xs = this.order(choice.x, rows, "x");
    const facets = this.order(choice.facet, rows, "facet");
    const ranks = this.order(choice.colour, rows, "colour");
    const groups = [...new Set([...rows].sort((a, b) => ranks.indexOf(a.colour) - ranks.indexOf(b.colour)).map((row) => row.group))];
    const traces = [];
    facets.forEach((facet, panel) => groups.forEach((group, index) => {
      const own = rows.filter((row) => row.facet === facet && row.group === group);
      if (!own.length) return;
      const shift = groups.length > 1 ? (index - (groups.length - 1) / 2) * Math.min(0.12, 0.7 / groups.length) : 0;
      const axes = { xaxis: "x" + (panel ? panel + 1 : ""), yaxis: "y" };
      const color = this.colorOf(group, index, groups, own[0]);
      const common = { ...axes, name: group || own[0].what || "all", legendgroup: group };
      if (choice.show !== "means") traces.push(...this.cloud(own, xs, shift, color, common));
      if (choice.show !== "points") traces.push({ ...common, type: "scatter", mode: "markers", showlegend: panel === 0 && groups.length > 1,
        x: own.map((row) => xs.indexOf(row.x) + shift), y: own.map((row) => row.estimate),
        error_y: { type: "data", symmetric: false, array: own.map((row) => (row.high === null ? 0 : row.high - row.estimate)),
          arrayminus: own.map((row) => (row.low === null ? 0 : row.estimate - row.low)), thickness: 1.6, width: 3, color },
        marker: { color, size: 9 }, hovertext: own.map((row) => row.hover), hoverinfo: "text", customdata: own.map((row) => row.name) });
    }));
    await this.Plotly.react(this.place, traces, this.layout(choice, xs, facets, groups), config);
  }

  cloud(rows, xs, shift, color, common) {
    const { cells, seeds, values } = this.data.points;
    const x = [], y = [], text = [], names = [];
    const places = new Map(rows.map((row) => [row.name, row]));
    const column = values[rows[0].key] || [];
    cells.forEach((cell, index) => {
      const row = places.get(cell);
      if (!row || column[index] === null) return;
      x.push(xs.indexOf(row.x) + shift + ((index * 0.618) % 1 - 0.5) * 0.08);
      y.push(column[index]);
      text.push("<b>" + this.data.cells.find((one) => one.name === cell).text + "</b><br>" + seeds[index] + "<br>" + column[index]);
      names.push(cell);
    });
    return [{ ...common, type: "scatter", mode: "markers", showlegend: false, x, y, hovertext: text, hoverinfo: "text",
      customdata: names, marker: { color, size: 5, opacity: 0.45 } }];
  }

  // Of many levels some are named, and none has a line.
  ticks(xs, panels) {
    const every = Math.ceil(xs.length / Math.max(2, Math.floor(16 / panels)));
    const kept = xs.map((_, index) => index).filter((index) => index % every === 0);
    return { tickvals: kept, ticktext: kept.map((index) => xs[index]), showgrid: xs.length <= 16 };
  }

  layout(choice, xs, facets, groups) {
    const title = this.data.quantities.find((one) => one.name === choice.quantity).title;
    const xTitle = choice.x === "cell" ? "" : this.data.factors[Number(choice.x)].title;
    const facetTitle = choice.facet === "" ? "" : this.data.factors[Number(choice.facet)].short;
    const gap = 0.03, width = (1 - gap * (facets.length - 1)) / facets.length;
    const made = { ...baseLayout(), height: 430, hovermode: "closest", showlegend: groups.length > 1,
      margin: this.data.figure.layout.margin, legend: { orientation: "h", y: -0.2 }, annotations: [],
      yaxis: { ...axisStyle(), title: { text: title }, type: choice.log ? "log" : "linear", zeroline: true },
      hoverlabel: { bgcolor: ink("panel"), font: { color: ink("ink") }, align: "left" } };
    facets.forEach((facet, panel) => {
      made["xaxis" + (panel ? panel + 1 : "")] = { ...axisStyle(), title: { text: panel === Math.floor((facets.length - 1) / 2) ? xTitle : "" },
        ...this.ticks(xs, facets.length), range: [-0.5, xs.length - 0.5], zeroline: false,
        domain: [panel * (width + gap), panel * (width + gap) + width], anchor: "y", automargin: true };
      if (facetTitle) made.annotations.push({ text: facetTitle + " = " + facet, showarrow: false, xref: "paper", yref: "paper",
        x: panel * (width + gap) + width / 2, y: 1.05, xanchor: "center" });
    });
    return made;
  }
}

const explorers = [...document.querySelectorAll("form.choices")].map((form) => new Explorer(form));
if (location.hash.includes("explore?")) document.getElementById(location.hash.slice(1).split("?")[0]).scrollIntoView();
// Drawn when it comes near: the first screen waits for nothing.
const nearby = new IntersectionObserver((entries) => entries.filter((one) => one.isIntersecting).forEach((one) => {
  nearby.unobserve(one.target);
  explorers.find((explorer) => explorer.place === one.target).start();
}), { rootMargin: "300px" });
explorers.forEach((explorer) => nearby.observe(explorer.place));
