// The table of requests: rows are kept as long as they are shown, so focus and selection stay where they are.

import { fitted, ticks } from "./axis.js";
import { drawnUntil, isoOf, timeOfDay } from "./clock.js";
import { find, html, svg } from "./dom.js";
import { keyOf } from "./store.js";
import { drawing, grow } from "./timeline.js";
import { answer, asked, kind, ms, spoken, story, SYMBOLS } from "./words.js";

const SHOWN = 40;
const LIT_AT_ONCE = 3; // new rows light up; when many come, that would only be a flicker
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class List {
  #store;
  #open;
  #lines = new Map(); // key to { line, row, seen }
  #body = find("#rows");
  #scale = 0;
  frozen = false;

  // open: called with the row that a click or Enter asks for.
  constructor(store, open) {
    this.#store = store;
    this.#open = open;
    this.#body.addEventListener("keydown", (event) => this.#move(event));
    const frame = () => {
      if (!still.matches && !this.frozen) this.#grow();
      requestAnimationFrame(frame);
    };
    frame();
  }

  show() {
    if (this.frozen) return;
    const rows = this.#store.latest(SHOWN);
    const scale = fitted(rows, elapsed, this.#scale);
    const rescaled = scale !== this.#scale;
    this.#scale = scale;
    if (rescaled) drawAxis(scale);
    const wanted = new Set(rows.map(keyOf));
    for (const [key, { line }] of this.#lines) {
      if (wanted.has(key)) continue;
      if (line.contains(document.activeElement)) line.nextElementSibling?.querySelector("button")?.focus();
      line.remove();
      this.#lines.delete(key);
    }
    const lit = this.#body.querySelectorAll(".arrives").length;
    const lights = lit + rows.filter((row) => !this.#lines.has(keyOf(row))).length <= LIT_AT_ONCE;
    let place = this.#body.firstElementChild;
    for (const row of rows) {
      const line = this.#line(row, rescaled, lights);
      if (line === place) place = place.nextElementSibling;
      else this.#body.insertBefore(line, place);
    }
    find("#empty").hidden = rows.length > 0;
  }

  // lights: a new row lights up.
  #line(row, rescaled, lights) {
    const key = keyOf(row);
    const seen = JSON.stringify([row.reason, row.calls.map((call) => call.outcome)]);
    const known = this.#lines.get(key);
    if (known && known.seen === seen && !rescaled) return known.line;
    const line = known?.line ?? html("tr", { role: "row" });
    const focused = line.contains(document.activeElement);
    line.className = kind(row);
    line.replaceChildren(...this.#cells(row));
    if (!known) {
      line.addEventListener("click", () => this.#open(row));
      line.addEventListener("animationend", () => line.classList.remove("arrives"));
      line.classList.toggle("arrives", lights);
    }
    if (focused) line.querySelector("button").focus();
    this.#lines.set(key, { line, row, seen });
    return line;
  }

  #cells(row) {
    const cell = (name, ...children) => html("td", { role: "cell", class: name }, ...children);
    const took = row.reason === "running" ? "" : ms(row.used_ms);
    const late = row.late_by_ms > 0 ? html("strong", {}, ` late by ${ms(row.late_by_ms)}`) : "";
    return [
      cell("at", html("time", { datetime: isoOf(row.arrived_ms) }, timeOfDay(row.arrived_ms))),
      cell(
        "answer",
        html(
          "button", { type: "button", "aria-label": spoken(row), "aria-haspopup": "dialog" },
          html("span", { class: "symbol" }, SYMBOLS[kind(row)]), answer(row),
        ),
        html("span", { class: "took" }, took),
      ),
      cell("asked", html("b", { title: row.path }, asked(row)), row.timeout_ms ? ` ${ms(row.timeout_ms)}` : ""),
      cell("time", drawing(row, this.#scale, elapsed(row))),
      cell("story", late, ...story(row).map((part) => html("span", {}, part))),
    ];
  }

  #grow() {
    for (const { line, row } of this.#lines.values()) {
      if (row.reason === "running") grow(line, row, this.#scale, elapsed(row));
    }
  }

  #move(event) {
    const steps = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" };
    const next = event.target.closest("tr")?.[steps[event.key]];
    if (!next) return;
    event.preventDefault();
    next.querySelector("button").focus();
  }
}

function elapsed(row) {
  return Math.max(0, drawnUntil() - row.arrived_ms);
}

function drawAxis(scale) {
  const axis = svg("svg", { class: "axis", width: "100%", height: 16, "aria-hidden": "true" });
  for (const at of ticks(scale)) {
    const x = `${(100 * at) / scale}%`;
    axis.append(svg("line", { x1: x, x2: x, y1: 10, y2: 16 }), svg("text", { x, y: 11, dx: 3 }, String(at)));
  }
  const head = find("th.time");
  head.querySelector("svg")?.remove();
  head.append(axis);
  // The rows' grid lines stand where the ticks do.
  const step = ticks(scale)[1] ?? scale;
  find("#requests table").style.setProperty("--step", `${(100 * step) / scale}%`);
}
