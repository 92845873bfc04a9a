// The vital signs: five small charts of the last half minute, each with its present value in text.

import { html, find } from "./dom.js";
import { count } from "./words.js";

const SECONDS = 30;
const EVERY_MS = 500;
const POINTS = (SECONDS * 1000) / EVERY_MS;
const HEIGHT = 56;
const SMOOTH_OVER = 4; // samples: of a few requests a second, half a second shows only noise
const RATES = ["answered_rate", "failed_rate", "refused_rate", "left_rate", "unread_rate"];
const refused = (s) => s.refused_rate_smooth + s.unread_rate_smooth;

const rate = (value) => (value < 10 ? value.toFixed(1) : count(Math.round(value)));

// lines: [name, colour, dash, value of a sample]
const CHARTS = [
  {
    name: "Requests per second",
    lines: [
      ["answered", "--won", null, (s) => s.answered_rate_smooth],
      ["failed", "--failed", [5, 3], (s) => s.failed_rate_smooth],
      ["rejected", "--quiet", [1.5, 2.5], refused],
    ],
    text: (s) => rate(s.answered_rate_smooth + s.failed_rate_smooth + s.left_rate_smooth + refused(s)),
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
  #most = html("span", { class: "most" }); // the height of the drawing

  constructor(spec) {
    this.#spec = spec;
    const names = spec.lines.length > 1 ? spec.lines.map(([name]) => name) : [];
    const keys = names.map((name, index) => html("span", { class: `key line-${index}`, "data-line": index }, name));
    keys.forEach((key, index) => key.style.setProperty("--line", `var(${spec.lines[index][1]})`));
    this.figure = html(
      "figure", {},
      html("figcaption", {}, spec.name),
      html("p", { class: "value" }, this.#value, this.#unit, this.#most),
      this.#place,
      html("p", { class: "keys" }, ...keys),
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
        width: this.#place.clientWidth || 200, height: HEIGHT, padding: [4, 0, 1, 0],
        legend: { show: false }, cursor: { show: false }, select: { show: false },
        scales: { x: { time: false }, y: { range: (_, __, top) => [0, Math.max(1, top * 1.1)] } },
        axes: [{ show: false }, { show: false }],
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
    const last = samples.at(-1);
    if (last) {
      const { text, unit } = this.#spec;
      this.#value.textContent = text(last);
      this.#unit.textContent = typeof unit === "string" ? unit : unit(last);
    }
    const values = this.#spec.lines.flatMap(([, , , value]) => samples.map(value));
    const most = Math.max(0, ...values.filter((value) => value !== null));
    this.#most.textContent = most ? `max ${most < 10 ? most.toFixed(1) : count(Math.round(most))}` : "";
    this.#plot.setData(this.#data(samples));
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

