// CPU and memory of something that runs, drawn by uPlot: `<section data-charts="ADDRESS">` with a figure per measure.
//
// ADDRESS answers `?span=1h|24h|7d` with {seconds, points: [[at, cpu, cpu most, memory, memory most]]}. Each chart can be
// walked through with the arrow keys, says its figures in words, and all of them stand in a table below.

const SPANS = { "1h": [3600, 10], "24h": [86_400, 60], "7d": [604_800, 300] }; // seconds, seconds between looks
const MEASURES = {
  cpu: { name: "CPU", columns: [1, 2], format: percent, incrs: [1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000], least: 2 },
  memory: { name: "Memory", columns: [3, 4], format: bytes, incrs: binary(), least: 1 << 20 },
};
const ROWS = 24; // of the table
const HEIGHT = 148;

export function start() {
  for (const section of document.querySelectorAll("[data-charts]")) new Charts(section);
}

class Charts {
  constructor(section) {
    this.section = section;
    this.figures = [...section.querySelectorAll("[data-chart]")].map((figure) => new Figure(figure));
    this.span = "1h";
    this.asked = 0;
    this.number = 0;
    for (const button of section.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => this.choose(button.dataset.span));
    }
    section.querySelector("details")?.addEventListener("toggle", () => this.tell());
    new MutationObserver(() => this.draw()).observe(document.documentElement, { attributeFilter: ["class"] });
    setInterval(() => this.look(), 1000);
    document.addEventListener("visibilitychange", () => this.look());
    this.look();
  }

  choose(span) {
    this.span = span;
    for (const button of this.section.querySelectorAll("[data-span]")) {
      button.setAttribute("aria-pressed", String(button.dataset.span === span));
    }
    this.asked = 0;
    this.look();
  }

  async look() {
    if (document.hidden || Date.now() - this.asked < SPANS[this.span][1] * 1000) return;
    this.asked = Date.now();
    const [span, number] = [this.span, ++this.number];
    try {
      const address = `${this.section.dataset.charts}?span=${span}`;
      const response = await fetch(address, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (response.status === 404) this.asked = Infinity; // it is not registered any more
      if (!response.ok || number !== this.number) return;
      const { seconds, points } = await response.json();
      this.data = { seconds, points: points.map(([at, ...rest]) => [moment(at), ...rest]) };
      this.draw();
    } catch {
      // the server is away: the bar says so, and the next look comes
    }
  }

  draw() {
    if (!this.data) return;
    const end = Date.now() / 1000;
    const range = [end - SPANS[this.span][0], end];
    for (const figure of this.figures) figure.draw(this.data, range);
    this.tell();
  }

  /** The same as a table, for those who do not see the chart; made while it is open. */
  tell() {
    const details = this.section.querySelector("details");
    if (!details?.open || !this.data) return;
    const size = Math.ceil(this.data.points.length / ROWS) || 1;
    const body = details.querySelector("tbody");
    body.replaceChildren();
    for (let begin = 0; begin < this.data.points.length; begin += size) {
      const some = this.data.points.slice(begin, begin + size);
      const row = body.insertRow(0);
      row.insertCell().textContent = clock(some[0][0], this.span === "7d");
      for (const { columns, format } of Object.values(MEASURES)) {
        for (const [place, value] of [[0, mean], [1, most]]) {
          const cell = row.insertCell();
          cell.className = "num";
          cell.textContent = format(value(some.map((point) => point[columns[place]])));
        }
      }
    }
    if (!body.rows.length) body.insertRow().insertCell().textContent = "Nothing was measured.";
  }
}

class Figure {
  constructor(figure) {
    this.figure = figure;
    this.measure = MEASURES[figure.dataset.chart];
    this.limit = Number(figure.dataset.limit) || null;
    this.place = figure.querySelector(".chart-plot");
    this.told = figure.querySelector(".chart-told");
    this.read = figure.querySelector(".chart-read");
    new ResizeObserver(() => this.fit()).observe(this.place);
    this.place.addEventListener("keydown", (event) => this.key(event));
    this.place.addEventListener("blur", () => this.leave());
  }

  draw({ seconds, points }, range) {
    const shown = points.filter((point) => point[0] >= range[0] - seconds);
    const [average, highest] = this.measure.columns;
    this.range = range;
    this.summary(shown.map((point) => point[average]), shown.map((point) => point[highest]));
    this.place.classList.toggle("is-empty", !shown.length);
    this.plot?.destroy();
    this.plot = null;
    if (!shown.length) return;
    const data = withGaps(shown, seconds, [average, highest]);
    this.plot = new window.uPlot(this.options(), data, this.place);
    this.place.querySelector("canvas").setAttribute("aria-hidden", "true");
  }

  summary(averages, highest) {
    const { name, format } = this.measure;
    const words = averages.length
      ? `now ${format(averages.at(-1))} · average ${format(mean(averages))} · most ${format(most(highest))}`
      : "nothing was measured";
    this.told.textContent = words;
    const limit = this.limit ? `, of ${format(this.limit)}` : "";
    this.place.setAttribute("aria-label", `${name}: ${words.replaceAll(" · ", ", ")}${limit}. Arrow keys read single moments.`);
  }

  options() {
    const style = getComputedStyle(this.figure);
    const colour = (name) => style.getPropertyValue(name).trim();
    const line = colour("--chart-line");
    const axis = { stroke: colour("--quiet"), font: `11px ${style.fontFamily}`, ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
    return {
      width: this.place.clientWidth,
      height: HEIGHT,
      padding: [10, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "gaia" }, points: { size: 7, fill: line, stroke: line } },
      scales: { x: { range: () => this.range }, y: { range: (plot, least, most) => [0, this.top(most)] } },
      axes: [
        { ...axis, size: 26, space: 64, values: (plot, moments, index, space, step) => moments.map((at) => clock(at, step >= 86_400, step < 86_400)) },
        { ...axis, size: 58, space: 34, incrs: this.measure.incrs, values: (plot, values) => values.map(this.measure.format) },
      ],
      series: [
        {},
        { stroke: line, width: 1.75, fill: colour("--chart-fill"), points: { show: false } },
        { stroke: colour("--chart-most"), width: 1, points: { show: false } },
      ],
      hooks: { setCursor: [(plot) => this.say(plot)], draw: [(plot) => this.drawLimit(plot, colour("--st-red"))] },
    };
  }

  /** The scale's end: above all that is drawn, and above the limit when that is near. */
  top(highest) {
    const end = Math.max(highest || 0, this.measure.least) * 1.15;
    return this.limit && this.limit < end * 2 ? Math.max(end, this.limit * 1.1) : end;
  }

  drawLimit(plot, colour) {
    if (!this.limit || this.limit > plot.scales.y.max) return;
    const { ctx, bbox } = plot;
    const y = Math.round(plot.valToPos(this.limit, "y", true)) + 0.5;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }

  say(plot) {
    const at = plot.cursor.idx;
    const [moments, averages, highest] = plot.data;
    const { format } = this.measure;
    this.read.textContent = at == null || averages[at] == null ? "" : `${clock(moments[at])}: ${format(averages[at])}, at most ${format(highest[at])}`;
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (!this.plot || !step) return;
    event.preventDefault();
    const moments = this.plot.data[0];
    const from = this.plot.cursor.idx ?? moments.length;
    const first = moments.findIndex((at) => at >= this.range[0]);
    const to = Math.max(first, Math.min(moments.length - 1, from + step));
    this.plot.setCursor({ left: this.plot.valToPos(moments[to], "x"), top: 0 }, true, true); // the other charts, too
  }

  leave() {
    this.plot?.setCursor({ left: -10, top: -10 }, true, true);
  }

  fit() {
    if (this.plot && this.place.clientWidth) this.plot.setSize({ width: this.place.clientWidth, height: HEIGHT });
  }
}

/** Columns as uPlot takes them; where nothing was measured for longer than a period the line breaks. */
function withGaps(points, seconds, columns) {
  const data = [[], [], []];
  let before = null;
  for (const point of points) {
    if (before !== null && point[0] - before > seconds * 2.5) {
      data[0].push(before + seconds);
      data[1].push(null);
      data[2].push(null);
    }
    before = point[0];
    data[0].push(before);
    data[1].push(point[columns[0]]);
    data[2].push(point[columns[1]]);
  }
  return data;
}

const moment = (at) => (typeof at === "number" ? at : Date.parse(at) / 1000);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const most = (values) => values.reduce((highest, value) => Math.max(highest, value), 0);

function clock(at, day = false, short = false) {
  const when = new Date(at * 1000);
  const date = when.toLocaleDateString([], { weekday: "short", day: "numeric" });
  const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: short || day ? undefined : "2-digit", hour12: false });
  return day ? (short === false && when.getHours() + when.getMinutes() ? `${date} ${time}` : date) : time;
}

function percent(value) {
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1)} %`;
}

function bytes(value) {
  for (const [size, unit] of [[1 << 30, "GB"], [1 << 20, "MB"], [1 << 10, "KB"]]) {
    if (value >= size) return `${value / size >= 100 || value % size === 0 ? Math.round(value / size) : (value / size).toFixed(1)} ${unit}`;
  }
  return `${Math.round(value)} B`;
}

function binary() {
  return Array.from({ length: 24 }, (_, power) => 2 ** (power + 16));
}
