// The server's clock on this page: the smallest delay seen recently is the best guess of the distance.

const BEHIND_MS = 150; // at most so long after one batch comes the next, while a request runs

let offset = Infinity; // this page's clock minus the server's
let told = -Infinity; // until when the server has told everything, on its clock
let day = 0; // Unix time minus the server's clock

// Both take a message of the server. A new connection may be to a new server, whose clock began elsewhere.
export function restart(message) {
  offset = Infinity;
  heard(message);
}

export function heard({ now_ms: now, unix_ms: unix }) {
  // The millisecond lets a guess that was too good be forgotten.
  offset = Math.min(offset + 1, performance.now() - now);
  told = now;
  day = unix - now;
}

// Until when requests that run are drawn: a little behind, and never beyond what the server has told.
export const drawnUntil = () => Math.min(told, performance.now() - offset - BEHIND_MS);

const two = (number) => String(number).padStart(2, "0");

// A moment of the server's clock as time of day, in this page's time zone.
export function timeOfDay(serverMs) {
  const at = new Date(serverMs + day);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
}

// The same with its date, in full.
export function moment(serverMs) {
  const at = new Date(serverMs + day);
  const zone = -at.getTimezoneOffset();
  const shift = `${zone < 0 ? "−" : "+"}${two(Math.floor(Math.abs(zone) / 60))}:${two(Math.abs(zone) % 60)}`;
  const date = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${date} ${timeOfDay(serverMs)}.${String(at.getMilliseconds()).padStart(3, "0")} UTC${shift}`;
}

export const isoOf = (serverMs) => new Date(serverMs + day).toISOString();
