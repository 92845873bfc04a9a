// What the bars mean, drawn by the same code as the rows.

import { find, html } from "./dom.js";
import { drawing } from "./timeline.js";

const call = (outcome, phases, ended) => ({ upstream: 0, outcome, started_ms: 0, ended_ms: ended, phases });
const through = [["connect", 0], ["wait", 22], ["receive", 80]];

const SAMPLES = [
  ["connect, wait, receive: won", call("won", through, 86)],
  ["cancelled, ended here", call("cancelled", [["wait", 0]], 70)],
  ["failed", call("failed", [["wait", 0]], 70)],
  ["running", call("running", [["wait", 0]], 80)],
];

export function explain() {
  const items = SAMPLES.map(([text, one]) => {
    const row = { reason: one.outcome, used_ms: 0, timeout_ms: null, calls: [one] };
    return html("li", {}, html("span", { class: "sample" }, drawing(row, 110, 80)), text);
  });
  items.push(
    html("li", {}, html("span", { class: "sample deadline-sample" }), "time reserve, then the deadline"),
  );
  find("#legend").replaceChildren(...items);
}
