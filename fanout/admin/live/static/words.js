// What a row says in words. Colours and shapes only repeat it.

export const ms = (value) => {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 10000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
};

export const count = (value) => value.toLocaleString("en");

// running, answered, failed, refused, left or late
export function kind(row) {
  if (row.reason === "running") return "running";
  if (row.late_by_ms > 0) return "late";
  if (row.status === null) return "left";
  if (row.status === 200) return "answered";
  return row.status === 500 ? "failed" : row.status < 400 ? "answered" : "refused";
}

export const SYMBOLS = { running: "○", answered: "✓", failed: "✕", refused: "⊘", left: "↩", late: "⚠" };

const NAMES = { no_success: "no success", invalid_timeout: "invalid timeout" };

export function answer(row) {
  const of = kind(row);
  if (of === "running") return "running";
  if (of === "left") return "none";
  return String(row.status);
}

const failure = (call) => (call.status ? `${call.error} ${call.status}` : (call.error ?? "a bug"));

function callWords(call) {
  const name = `call ${call.upstream}`;
  switch (call.outcome) {
    case "won": return `${name} won`;
    case "ok": return `${name} succeeded`;
    case "failed": return `${name} failed: ${failure(call)}`;
    case "internal": return `${name} hit a bug`;
    case "not_started": return `${name} was not started`;
    case "cancelled": {
      const gone = call.cancel_to_exit_ms;
      return `${name} cancelled${gone === null || gone === undefined ? "" : `, ended in ${ms(gone)}`}`;
    }
    default: return `${name} is running`;
  }
}

// The order of the sentence: the call that decided the race comes first.
const ORDER = ["won", "ok", "internal", "failed", "running", "cancelled", "not_started"];

function callsWords(calls) {
  const cancelled = calls.filter((call) => call.outcome === "cancelled");
  if (cancelled.length < 2 || cancelled.length < calls.length) {
    const order = (call) => ORDER.indexOf(call.outcome);
    return [...calls].sort((a, b) => order(a) - order(b)).map(callWords);
  }
  const gone = cancelled.map((call) => call.cancel_to_exit_ms).filter((time) => typeof time === "number");
  const all = calls.length === 2 ? "both" : `all ${calls.length}`;
  return [`${all} cancelled${gone.length ? `, ended in ${ms(Math.max(...gone))}` : ""}`];
}

// One sentence a row, as a list of parts.
export function story(row) {
  const parts = callsWords(row.calls);
  switch (row.reason) {
    case "running": return parts;
    case "success": return parts.length ? parts : [`answered in ${ms(row.used_ms)}`];
    case "client_disconnected": return [`the client disconnected after ${ms(row.used_ms)}`, ...parts];
    case "deadline": return ["the deadline came", ...parts];
    case "no_success": return parts;
    default: {
      const name = NAMES[row.reason] ?? row.reason.replaceAll("_", " ");
      return [`${name}, answered in ${ms(row.used_ms)}`, ...(parts.length ? parts : ["no call was made"])];
    }
  }
}

// What was asked for: the endpoint, or the path of a request that did not get so far.
export function asked(row) {
  return row.endpoint === "other" ? row.path || "–" : row.endpoint;
}

const CANCELLED_BY = {
  deadline: "the deadline came",
  nursery: "a task next to it failed",
  shutdown: "the server is shutting down",
};

export const whyCancelled = (call) =>
  call.cancel_reason ?? CANCELLED_BY[call.cancel_source] ?? call.cancel_source ?? "–";

// For screen readers.
export function spoken(row) {
  const time = row.reason === "running" ? "" : ` after ${ms(row.used_ms)}`;
  const late = row.late_by_ms > 0 ? `, late by ${ms(row.late_by_ms)}` : "";
  const limit = row.timeout_ms ? ` within ${row.timeout_ms} ms` : "";
  return `${asked(row)}${limit}: ${answer(row)}${time}${late}. ${story(row).join(". ")}`;
}
