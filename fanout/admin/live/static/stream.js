// The event stream, and whether it runs. EventSource comes back by itself after a broken connection, but not
// after an answer that is no stream (a server that starts, or has too many viewers): that is done here.

const AGAIN_MS = 2000;
const SILENT_MS = 6000; // the server says something every half second

export function follow(url, { greeting, batch, state }) {
  let source;
  let heardAt = 0;
  let draining = false;

  function open() {
    source?.close();
    heardAt = performance.now();
    source = new EventSource(url);
    source.addEventListener("greeting", (event) => {
      heard();
      draining = false;
      state("live");
      greeting(JSON.parse(event.data));
    });
    source.addEventListener("batch", (event) => {
      heard();
      const value = JSON.parse(event.data);
      if (value.sample?.draining && !draining) {
        draining = true;
        state("draining");
      }
      batch(value);
    });
    source.addEventListener("error", lost);
  }

  function heard() {
    heardAt = performance.now();
  }

  function lost() {
    state(draining ? "stopped" : "disconnected");
    if (source.readyState === EventSource.CLOSED) setTimeout(open, AGAIN_MS);
  }

  setInterval(() => {
    if (source.readyState === EventSource.OPEN && performance.now() - heardAt > SILENT_MS) {
      state("disconnected");
      open();
    }
  }, 1000);
  open();
}
