// A recorded run as a drawing: a column for each iteration, a lane for each task, and where it ran and waited.

import { svg } from "./dom.js";

const HEIGHT = 22;
const AXIS = 18;
const TASK_TONES = { ok: "ok", failed: "failed", internal: "internal", cancelled: "cancelled", ended: "running" };

export const hasEnded = (state) => Array.isArray(state);

// The request first, then each call with the tasks below it.
export function lanesOf(frames) {
  const names = new Set(frames.flatMap((frame) => Object.keys(frame.lanes)));
  return [...names].sort((a, b) => (b === "request") - (a === "request") || a.localeCompare(b));
}

function lane(name, frames, y) {
  const states = frames.map((frame) => frame.lanes[name]);
  const last = states.findIndex(hasEnded);
  const tone = last < 0 ? "running" : (TASK_TONES[states[last][0]] ?? "running");
  const group = svg("g", { class: `call ${tone}` });
  const width = 100 / frames.length;
  states.forEach((state, index) => {
    if (state === undefined || (last >= 0 && index > last)) return;
    const x = index * width;
    const runs = frames[index].points.some((point) => point[1] === name);
    const until = index === last ? 0.2 : 1; // it ran, and ended
    group.append(svg("rect", { class: "waits", x: `${x}%`, y: y + 9, width: `${width * until}%`, height: 3 }));
    if (runs) group.append(svg("rect", { class: "wait", x: `${x + width * 0.2}%`, y: y + 4, width: `${width * 0.6}%`, height: 13 }));
    if (index === last) {
      const place = svg("svg", { x: `${x + width * 0.8}%`, y: y + 10.5, overflow: "visible" });
      place.append(svg("path", { class: "mark", d: "M0 -8 L0 8" }));
      group.append(place);
    }
  });
  return group;
}

function times(frames, y) {
  const width = 100 / frames.length;
  return frames
    .map((frame, index) => [frame.t, index])
    .filter(([at, index]) => index === 0 || at !== frames[index - 1].t)
    .map(([at, index]) => svg("text", { x: `${index * width + width * 0.2}%`, y: y + 13 }, index === 0 ? `${at} ms` : String(at)));
}

// names: of the lanes. at: the column that is shown. cut: the one in which the client disconnects, or null.
export function lanesDrawing(frames, names, at, cut) {
  const width = 100 / frames.length;
  const height = names.length * HEIGHT;
  const picture = svg("svg", { class: "recorded", width: "100%", height: height + AXIS, "aria-hidden": "true" });
  picture.append(svg("rect", { class: "now", x: `${at * width}%`, y: 0, width: `${width}%`, height: height + AXIS }));
  picture.append(...names.map((name, index) => lane(name, frames, index * HEIGHT)), ...times(frames, height));
  if (cut !== null) {
    const x = `${(cut + 0.5) * width}%`;
    picture.append(svg("line", { class: "cut", x1: x, x2: x, y1: 0, y2: height }));
  }
  return picture;
}
