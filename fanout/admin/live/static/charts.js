// The vital signs: five small charts of the last half minute, each with its present value in text.

import { roundUp } from "./axis.js";
import { timeOfDay } from "./clock.js";
import { html, find } from "./dom.js";
import { count } from "./words.js";

const SECONDS = 30;
const EVERY_MS = 500;
const POINTS = (SECONDS * 1000) / EVERY_MS;
const HEIGHT = 72;
const AXIS = 34; // pixels
const DASHES = { 5: "dashed", 1.5: "dotted" }; // by the length of a stroke
const TOPS = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];
const SMOOTH_OVER = 4; // samples: of a few requests a second, half a second shows only noise
const RATES = ["answered_rate", "failed_rate", "refused_rate", "left_rate", "unread_rate"];
const refused = (s) => s.refused_rate_smooth + s.unread_rate_smooth;
const all = (s) => s.answered_rate_smooth + s.failed_rate_smooth + s.left_rate_smooth + refused(s);

const short = (value) => (value < 10 && value % 1 ? value.toFixed(1) : count(Math.round(value)));

// lines: [name, colour, dash, value of a sample]. What stands in the head of a chart is a line of it, too.
const CHARTS = [
  {
    name: "Requests per second",
    lines: [
      ["all", "--running", null, all],
      ["answered", "--won", null, (s) => s.answered_rate_smooth],
      ["failed", "--failed", [5, 3], (s) => s.failed_rate_smooth],
      ["rejected", "--quiet", [1.5, 2.5], refused],
    ],
    text: (s) => short(all(s)),
    unit: "/s",
  },
  {
    name: "Latency of answers",
    lines: [
      ["p50", "--running", null, (s) => s.p50_ms],
      ["p99", "--accent", [5, 3], (s) => s.p99_ms],
    ],
    text: (s) => (s.p50_ms === null ? "–" : `${Math.round(s.p50_ms)} / ${Math.round(s.p99_ms)}`),
    unit: "ms",
  },
  {
    name: "In flight",
    lines: [["requests", "--running", null, (s) => s.in_flight]],
    text: (s) => count(s.in_flight),
    unit: (s) => `of ${count(s.limit)}`,
  },
  {
    name: "Event-loop lag",
    lines: [["longest recent iteration", "--running", null, (s) => s.late_ms]],
    text: (s) => (s.late_ms < 10 ? s.late_ms.toFixed(1) : String(Math.round(s.late_ms))),
    unit: "ms",
  },
  {
    name: "Upstream connections",
    lines: [
      ["in use", "--running", null, (s) => s.pool_in_use],
      ["idle", "--quiet", [5, 3], (s) => s.pool_idle],
    ],
    text: (s) => `${count(s.pool_in_use)} / ${count(s.pool_idle)}`,
    unit: "in use / idle",
  },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Chart {
  #spec;
  #plot;
  #place = html("div", { class: "plot", "aria-hidden": "true" });
  #value = html("output", { "aria-live": "off" }, "–");
  #unit = html("span", { class: "unit" });
  #most = html("span", { class: "most" });
  #tip = html("p", { class: "tip", "aria-hidden": "true", hidden: "" });
  #samples = [];

  constructor(spec) {
    this.#spec = spec;
    const names = spec.lines.length > 1 ? spec.lines.map(([name]) => name) : [];
    const keys = names.map((name, index) => html("span", { class: `key ${DASHES[spec.lines[index][2]?.[0]] ?? ""}` }, name));
    keys.forEach((key, index) => key.style.setProperty("--line", `var(${spec.lines[index][1]})`));
    this.figure = html(
      "figure", {},
      html("figcaption", {}, spec.name),
      html("p", { class: "value" }, this.#value, this.#unit, this.#most),
      this.#place,
      html("p", { class: "keys" }, ...keys),
      this.#tip,
    );
  }

  draw() {
    this.#plot?.destroy();
    const series = this.#spec.lines.map(([, name, dash], index) => ({
      stroke: colour(name), width: 1.5, dash: dash ?? undefined, spanGaps: true,
      fill: index === 0 ? `${colour(name)}1f` : undefined, points: { show: false },
    }));
    this.#plot = new uPlot(
      {
        width: this.#place.clientWidth || 200, height: HEIGHT, padding: [6, 1, 6, 0],
        legend: { show: false }, select: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 5 } },
        hooks: { setCursor: [({ cursor }) => this.#point(cursor)] },
        scales: { x: { time: false }, y: { range: (_, __, top) => [0, roundUp(Math.max(1, top * 1.05), TOPS)] } },
        axes: [
          { show: false },
          {
            size: AXIS, gap: 3, stroke: colour("--quiet"), font: "10px system-ui, sans-serif",
            splits: (_, __, bottom, top) => [bottom, top / 2, top],
            values: (_, values) => values.map((value) => (value % 1 ? String(value) : count(value))),
            grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
          },
        ],
        series: [{}, ...series],
      },
      this.#data([]),
      this.#place,
    );
    new ResizeObserver(() => {
      const width = this.#place.clientWidth;
      if (width && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
    }).observe(this.#place);
  }

  show(samples) {
    this.#samples = samples;
    const last = samples.at(-1);
    if (last) {
      const { text, unit } = this.#spec;
      this.#value.textContent = text(last);
      this.#unit.textContent = typeof unit === "string" ? unit : unit(last);
    }
    const values = this.#spec.lines.flatMap(([, , , value]) => samples.map(value));
    const most = Math.max(0, ...values.filter((value) => value !== null));
    this.#most.textContent = most ? `max ${short(most)}` : "";
    this.#plot.setData(this.#data(samples));
  }

  // What the lines say at the pointer, in words.
  #point({ idx: index, left }) {
    const sample = this.#samples[index - (POINTS - this.#samples.length)];
    this.#tip.hidden = left < 0 || sample === undefined;
    if (this.#tip.hidden) return;
    const values = this.#spec.lines.map(([name, , , value]) => {
      const found = value(sample);
      return html("span", {}, `${name} ${found === null ? "–" : short(found)}`);
    });
    this.#tip.replaceChildren(html("b", {}, timeOfDay(sample.at_ms)), ...values);
  }

  // Always the whole time wide, so the line moves at the same speed from the beginning.
  #data(samples) {
    const missing = POINTS - samples.length;
    const xs = Array.from({ length: POINTS }, (_, index) => index);
    const ys = this.#spec.lines.map(([, , , value]) => [...Array(missing).fill(null), ...samples.map(value)]);
    return [xs, ...ys];
  }
}

export class Charts {
  #charts = CHARTS.map((spec) => new Chart(spec));
  #samples = [];

  constructor() {
    find("#vitals").replaceChildren(...this.#charts.map((chart) => chart.figure));
    const draw = () => {
      this.#charts.forEach((chart) => chart.draw());
      this.#show();
    };
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  begin(samples) {
    this.#samples = [];
    samples.forEach((sample) => this.#add(sample));
    this.#show();
  }

  add(sample) {
    this.#add(sample);
    this.#show();
  }

  #add(sample) {
    // Shed before they were read: the server only counts them, since its start.
    const before = this.#samples.at(-1);
    const seconds = before ? (sample.at_ms - before.at_ms) / 1000 : 0;
    sample.unread_rate = seconds > 0 ? (sample.refused_unread - before.refused_unread) / seconds : 0;
    this.#samples = [...this.#samples.slice(1 - POINTS), sample];
    for (const name of RATES) {
      const latest = this.#samples.slice(-SMOOTH_OVER).map((each) => each[name]);
      sample[`${name}_smooth`] = latest.reduce((sum, value) => sum + value, 0) / latest.length;
    }
  }

  #show() {
    this.#charts.forEach((chart) => chart.show(this.#samples));
  }
}

