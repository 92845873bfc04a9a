// Lanes over time: a bar for each call, task or connection, all on one scale.

import { html, svg } from "./dom.js";
import { ms } from "./words.js";

// How a lane ended, as the class that gives its colour: see base.css.
const TONES = {
  success: "ok", failure: "failed", cancelled: "cancelled", bug: "internal",
  left: "left", cut: "failed", done: "running",
};

function bar(lane, longest) {
  const percent = (value) => `${(97 * value) / longest}%`; // the sign at the end needs room
  const group = svg("g", { class: `call ${TONES[lane.end] ?? "running"}` });
  const to = Math.max(lane.to_ms - lane.from_ms, longest / 100);
  group.append(svg("rect", { class: "wait", x: percent(lane.from_ms), y: 2, height: 8, width: percent(to) }));
  const sign = lane.end === "left" ? "M0 -4 L4 0 L0 4" : lane.was_reset ? "M0 -4 L4 4 M4 -4 L0 4" : "M0 -5 L0 5";
  const place = svg("svg", { x: percent(lane.from_ms + to), y: 6, overflow: "visible" });
  place.append(svg("path", { class: "mark", d: sign }));
  group.append(place);
  return svg("svg", { class: "timeline", width: "100%", height: 12, "aria-hidden": "true" }, group);
}

const ending = (lane) =>
  [`${lane.end} ${ms(lane.to_ms)}`, lane.was_reset ? "connection reset" : "", lane.note].filter(Boolean).join(" · ");

const IN_SHORT = 4; // lanes: the first

// A list with a row for each lane. short: only some of them, without the words on how they ended.
export function timeline(lanes, short = false) {
  const longest = Math.max(1, ...lanes.map((lane) => lane.to_ms));
  const row = (lane) =>
    html("li", {}, html("span", { class: "lane-name", title: lane.name }, lane.name), bar(lane, longest),
      html("span", { class: short ? "unseen" : "lane-end" }, ending(lane)));
  const shown = short ? lanes.slice(0, IN_SHORT) : lanes;
  const more = lanes.length - shown.length;
  const rest = more ? [html("li", { class: "small" }, `and ${more} more`)] : [];
  return html("ul", { class: short ? "lanes short" : "lanes", "aria-label": "Timeline" }, ...shown.map(row), ...rest);
}
