// The latest rows, newest first, and which of them the filter lets through.

import { kind, story } from "./words.js";

const KEPT = 600;

// A request's id may be the client's choice; with the time of its arrival it is this request.
export const keyOf = (row) => `${row.request_id} ${row.arrived_ms}`;

export class Store {
  #rows = new Map(); // by key, the oldest first
  filter = { endpoint: "", kind: "", text: "" };

  add(row) {
    const key = keyOf(row);
    if (this.#rows.has(key)) {
      Object.assign(this.#rows.get(key), row); // what was shown running has ended: it stays where it is
    } else {
      this.#rows.set(key, { ...row });
      if (this.#rows.size > KEPT) this.#rows.delete(this.#rows.keys().next().value);
    }
  }

  // After a reconnection, what was running then has ended unseen, if the server no longer tells of it.
  forgetRunning() {
    for (const [key, row] of this.#rows) if (row.reason === "running") this.#rows.delete(key);
  }

  latest(limit) {
    const found = [];
    for (const row of [...this.#rows.values()].reverse()) {
      if (this.#fits(row)) found.push(row);
      if (found.length === limit) break;
    }
    return found;
  }

  #fits(row) {
    const { endpoint, kind: wanted, text } = this.filter;
    if (endpoint && row.endpoint !== endpoint) return false;
    if (wanted && kind(row) !== wanted) return false;
    if (!text) return true;
    const reasons = row.calls.map((call) => call.cancel_reason ?? "");
    return [row.request_id, row.reason, row.path ?? "", ...story(row), ...reasons].join(" ").toLowerCase().includes(text);
  }
}
