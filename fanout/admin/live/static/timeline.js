// One request as a drawing: a bar for each call through its phases, its end, and the deadline.
// Everything stands at percentages of the axis, so a drawing fits any width without being made again.

import { svg } from "./dom.js";
import { ms } from "./words.js";

const BAR = 8;
const GAP = 5;
const PAD = 3;

// From "wait" on, the time is the upstream's. Before that, the server connects to it.
const PHASE_CLASSES = {
  reused: "reach", connect: "reach", tls: "reach", retry: "reach",
  wait: "wait", receive: "receive", done: "receive", kept: "receive",
};

const MARKS = {
  won: "M-4.2 .2 L-1.2 3.2 L4.4 -3.4",
  ok: "M-4.2 .2 L-1.2 3.2 L4.4 -3.4",
  failed: "M-3.4 -3.4 L3.4 3.4 M3.4 -3.4 L-3.4 3.4",
  internal: "M0 -4 L0 1 M0 3.4 L0 4",
  cancelled: "M0 -5 L0 5",
};

const percent = (value, scale) => `${Math.min(100, Math.max(0, (100 * value) / scale))}%`;

function bar(call, y, scale, now) {
  const group = svg("g", { class: `call ${call.outcome}` });
  const endsAt = call.ended_ms ?? now;
  const began = call.started_ms;
  const phases = call.phases.length ? call.phases : [["wait", began]];
  phases.forEach(([name, at], index) => {
    const from = Math.min(index === 0 ? began : at, endsAt);
    const to = Math.min(phases[index + 1]?.[1] ?? endsAt, endsAt);
    const last = index === phases.length - 1;
    if (to <= from && !last) return;
    const rect = svg("rect", {
      class: PHASE_CLASSES[name] ?? "wait",
      fill: call.outcome === "cancelled" ? "url(#hatch)" : null,
      x: percent(from, scale), y, height: BAR,
      width: percent(to - from, scale), "data-from": last ? from : null,
    });
    if (call.ended_ms !== undefined) { // what a pointer over the bar reads
      rect.append(svg("title", {}, `call ${call.upstream}, ${name.replace("_", " ")}: ${ms(to - from)}`));
    }
    group.append(rect);
  });
  const mark = MARKS[call.outcome];
  if (mark) {
    const place = svg("svg", { x: percent(endsAt, scale), y: y + BAR / 2, overflow: "visible" });
    const right = call.outcome === "cancelled" ? 0 : 9; // the sign stands behind the bar
    place.append(svg("path", { class: "mark", d: mark, transform: `translate(${right} 0)` }));
    group.append(place);
  }
  return group;
}

export const heightOf = (row) => 2 * PAD + Math.max(1, row.calls.length) * (BAR + GAP) - GAP;

// now: ms after the arrival, for what still runs.
export function drawing(row, scale, now) {
  const height = heightOf(row);
  const picture = svg("svg", { class: "timeline", width: "100%", height, "aria-hidden": "true" });
  if (row.timeout_ms && row.timeout_ms <= scale) {
    const raceEnds = row.timeout_ms - row.reserve_ms;
    picture.append(
      svg("rect", {
        class: "reserve", x: percent(raceEnds, scale), y: 0, height,
        width: percent(row.timeout_ms - Math.max(0, raceEnds), scale),
      }),
      svg("line", {
        class: "deadline", x1: percent(row.timeout_ms, scale), x2: percent(row.timeout_ms, scale), y1: 0, y2: height,
      }),
    );
  }
  row.calls.forEach((call, index) => {
    if (call.started_ms === null) return;
    picture.append(bar(call, PAD + index * (BAR + GAP), scale, until(row, now)));
  });
  if (row.reason === "client_disconnected" || row.calls.length === 0) {
    picture.append(svg("circle", {
      class: row.reason === "client_disconnected" ? "gone" : "no-call", r: 3,
      cx: percent(row.used_ms, scale), cy: height / 2, transform: row.calls.length ? null : "translate(5 0)",
    }));
  }
  return picture;
}

// Until when the bars of what runs are drawn: the news of an end is a little old, and no proof of being late.
const until = (row, now) => (row.reason === "running" ? Math.min(now, row.timeout_ms ?? now) : now);

// Lets the bars of a running request grow.
export function grow(line, row, scale, now) {
  for (const rect of line.querySelectorAll(".call.running rect[data-from]")) {
    rect.setAttribute("width", percent(until(row, now) - Number(rect.dataset.from), scale));
  }
}
