// The tree of one request's tasks while it runs. The server makes it when it is asked: only while it is looked at.

import { find, html } from "./dom.js";
import { ms } from "./words.js";

const EVERY_MS = 200;
const MAX_MISSES = 10; // the server does not know the request, or does not answer

function scopeWords(scope) {
  const name = scope.name === "nursery" ? "nursery" : `scope of the ${scope.name}`;
  const facts = [
    scope.deadline_in_ms === null ? null : `deadline in ${ms(scope.deadline_in_ms)}`,
    scope.cancelled ? "cancelled" : null,
    scope.reason,
  ];
  return [html("b", {}, name), " ", html("span", {}, facts.filter(Boolean).join("; "))];
}

const ended = (call) =>
  html("li", { class: "over" }, html("b", {}, call.task), " ",
    html("span", {}, [`ended after ${ms(call.ended_ms)}`, call.outcome, call.reason].filter(Boolean).join("; ")));

function nursery({ scope, tasks, more, ended: over }) {
  const left = more ? [html("li", {}, `and ${more} more`)] : [];
  return html("li", {}, ...scopeWords(scope), html("ul", {}, ...over.map(ended), ...tasks.map(branch), ...left));
}

// A task, the scopes that it is in, and in the innermost its nurseries.
function branch(node) {
  const scopes = node.scopes ?? [];
  let inner = node.nurseries.map(nursery);
  for (const scope of [...scopes].reverse()) {
    inner = [html("li", {}, ...scopeWords(scope), html("ul", {}, ...inner))];
  }
  const place = node.places.at(-1);
  return html(
    "li", {},
    html("b", {}, `task ${node.task}`), " ", html("span", {}, place ? `waits in ${place}` : ""),
    ...(inner.length ? [html("ul", {}, ...inner)] : []),
  );
}

async function load(row) {
  const answer = await fetch(`tasks?request=${encodeURIComponent(row.request_id)}`, {
    headers: { Accept: "application/json" },
  });
  return answer.ok ? answer.json() : null;
}

// A list that follows the tasks of `row` while the dialog is open; then `over` gets the last tree.
export function followTasks(row, over) {
  const tree = html("ul", { class: "tree", "aria-label": "Tasks of this request" });
  const dialog = find("#receipt");
  let misses = 0;
  async function look() {
    if (!dialog.open || !dialog.contains(tree) || misses > MAX_MISSES) return;
    if (row.reason !== "running") {
      over(tree);
      return;
    }
    const seen = await load(row).catch(() => null);
    misses = seen ? 0 : misses + 1;
    if (seen) tree.replaceChildren(branch(seen));
    setTimeout(look, EVERY_MS);
  }
  setTimeout(look);
  return tree;
}
