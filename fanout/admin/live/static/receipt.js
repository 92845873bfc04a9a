// The full receipt of one request, in a dialog.

import { ticks } from "./axis.js";
import { moment } from "./clock.js";
import { find, html, svg } from "./dom.js";
import { upstreamOf } from "./server.js";
import { followTasks } from "./tasks.js";
import { drawing } from "./timeline.js";
import { answer, asked, kind, ms, story, SYMBOLS, whyCancelled } from "./words.js";

const CONNECTIONS = { true: "reused", false: "new", null: "–" };
const TIMEOUTS = { parameter: "its timeout parameter", header: "its deadline header", default: "the default" };
const AFTERWARDS = { true: "kept", false: "closed", null: "" };

const facts = (pairs) =>
  html("dl", {}, ...pairs.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));

function phases(call) {
  const ends = [...call.phases.slice(1).map(([, at]) => at), call.ended_ms];
  return call.phases
    .map(([name, at], index) => [name, ends[index] - at])
    .filter(([name]) => name !== "kept" && name !== "done")
    .map(([name, took]) => html("li", {}, html("b", {}, name), ` ${ms(took)}`));
}

function callPart(call) {
  const rows = [
    ["upstream", upstreamOf(call.upstream)],
    ["outcome", [call.outcome.replace("_", " "), call.error, call.status].filter(Boolean).join(" · ")],
    ["ran", call.started_ms === null ? "never" : `${ms(call.started_ms)} – ${ms(call.ended_ms)}`],
    ["connection", [CONNECTIONS[call.reused], AFTERWARDS[call.kept]].filter(Boolean).join(", then ")],
  ];
  if (call.time_left_ms) rows.push(["time left, as sent", ms(call.time_left_ms)]);
  if (call.outcome === "cancelled") {
    rows.push(
      ["because", whyCancelled(call)],
      ["ended after", ms(call.cancel_to_exit_ms)],
    );
  }
  if (call.left?.length) rows.push(["left running", call.left.join("; ")]);
  return html(
    "section", { class: `call-part ${call.outcome}` },
    html("h3", {}, `Call ${call.upstream}`), facts(rows),
    html("ol", { class: "phases", "aria-label": "Phases" }, ...phases(call)),
  );
}

function bigDrawing(row) {
  const scale = Math.max(row.used_ms, Math.min(row.timeout_ms ?? 0, row.used_ms * 8)) * 1.06 || 1;
  const axis = svg("svg", { class: "axis", width: "100%", height: 16, "aria-hidden": "true" });
  for (const at of ticks(scale)) {
    axis.append(svg("text", { x: `${(100 * at) / scale}%`, y: 12 }, String(at)));
  }
  return html("div", { class: "big" }, axis, drawing(row, scale, row.used_ms));
}

function head(...words) {
  const close = html("button", { type: "button", class: "close", "aria-label": "Close" }, "✕");
  close.addEventListener("click", () => find("#receipt").close());
  return html("header", {}, html("h2", { id: "receipt-title", tabindex: -1, autofocus: "" }, ...words), close);
}

function show(row, ...parts) {
  const dialog = find("#receipt");
  dialog.className = kind(row);
  dialog.replaceChildren(...parts);
  if (!dialog.open) dialog.showModal();
}

// There is no receipt yet: its tasks, and then the receipt.
function openRunning(row) {
  show(
    row,
    head(html("span", { class: "symbol" }, SYMBOLS.running), " running"),
    html("p", { class: "lead" }, `${asked(row)} within ${row.timeout_ms} ms, arrived ${moment(row.arrived_ms)}.`),
    followTasks(row, (tree) => openReceipt(row, tree)),
  );
}

// tree: the tasks as they were last seen, if somebody looked.
export function openReceipt(row, tree = null) {
  if (row.reason === "running") {
    openRunning(row);
    return;
  }
  const trace = `live/trace.json?request=${encodeURIComponent(row.request_id)}`;
  show(
    row,
    head(html("span", { class: "symbol" }, SYMBOLS[kind(row)]), ` ${answer(row)} in ${ms(row.used_ms)}`),
    html("p", { class: "lead" }, `${story(row).join("; ")}.`),
    bigDrawing(row),
    facts([
      ["arrived", moment(row.arrived_ms)],
      ["request id", row.request_id],
      ...(row.trace_id ? [["trace", row.trace_id]] : []),
      ["request", `${row.method} ${row.path}${row.timeout_ms ? `, within ${row.timeout_ms} ms` : ""}`],
      ...(row.timeout_from ? [["timeout from", TIMEOUTS[row.timeout_from]]] : []),
      ["time reserve", ms(row.reserve_ms)],
      ["used", ms(row.used_ms)],
      ["late by", row.late_by_ms > 0 ? ms(row.late_by_ms) : "not late"],
      ["reason", row.reason],
    ]),
    html("div", { class: "calls" }, ...row.calls.map(callPart)),
    html("p", {}, html("a", { class: "button", href: trace, download: "fanout-trace.json" }, "Trace of this request")),
    ...(tree ? [html("details", { open: "" }, html("summary", {}, "Its tasks, as last seen"), tree)] : []),
    html("details", {}, html("summary", {}, "As JSON"), html("pre", { tabindex: 0 }, JSON.stringify(row, null, 2))),
  );
}

// A click on the backdrop closes, as Escape does.
export function prepareReceipt() {
  const dialog = find("#receipt");
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
