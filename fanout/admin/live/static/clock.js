// The server's clock on this page: the smallest delay seen of late is the best guess of the distance.

let offset = Infinity;

// A new connection may be to a new server, whose clock began elsewhere.
export function restart(serverMs) {
  offset = performance.now() - serverMs;
}

export function heard(serverMs) {
  // The millisecond lets a guess that was too good be forgotten.
  offset = Math.min(offset + 1, performance.now() - serverMs);
}

export const serverNow = () => performance.now() - offset;
