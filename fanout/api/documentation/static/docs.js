// Sends a form without leaving the page, and shows the answer, how each upstream call went, and the same request
// for curl. Without this script the form still works: the browser goes to the answer.

const TIMING = /call(\d+);dur=([\d.]+);desc="(\w+)"/g;

function callItem([, call, ms, outcome], longestMs) {
  const item = document.createElement("li");
  item.className = outcome;
  item.textContent = `call ${call}: ${outcome} after ${ms} ms`;
  const bar = item.appendChild(document.createElement("span"));
  bar.style.width = `${(100 * ms) / longestMs}%`;
  return item;
}

function show(form, status, timing, content) {
  const calls = [...timing.matchAll(TIMING)];
  const longestMs = Math.max(1, ...calls.map(([, , ms]) => Number(ms)));
  form.querySelector(".status").textContent = status;
  form.querySelector(".calls").replaceChildren(...calls.map((call) => callItem(call, longestMs)));
  form.querySelector(".content").textContent = content;
  form.querySelector(".content").hidden = content === "";
  form.querySelector(".result").hidden = false;
}

function urlOf(form) {
  const url = new URL(form.action);
  const timeout = form.elements.timeout.value;
  if (timeout !== "") url.searchParams.set("timeout", timeout);
  return url;
}

async function send(form, signal) {
  const startedAt = performance.now();
  const elapsed = () => `${Math.round(performance.now() - startedAt)} ms`;
  try {
    const response = await fetch(urlOf(form), { signal });
    const content = await response.text(); // as it came: reading it as JSON could change a number
    const status = `${response.status} after ${elapsed()}, request ${response.headers.get("X-Request-Id")}`;
    show(form, status, response.headers.get("Server-Timing") ?? "", content);
  } catch (error) {
    const why = signal.aborted ? "You disconnected" : `No answer (${error.message})`;
    show(form, `${why} after ${elapsed()}`, "", "");
  }
}

function offerCurl(form) {
  const command = form.querySelector(".curl code");
  const update = () => { command.textContent = `curl -i '${urlOf(form)}'`; }; // a URL has its quotes encoded
  form.addEventListener("input", update);
  update();
  form.querySelector(".curl button").onclick = async () => {
    const status = form.querySelector(".curl [role=status]");
    try {
      await navigator.clipboard.writeText(command.textContent);
      status.textContent = "Copied";
    } catch { // no permission, or neither https nor localhost
      getSelection().selectAllChildren(command);
      status.textContent = "Selected: copy it with the keyboard";
    }
  };
  form.querySelector(".curl").hidden = false;
}

for (const form of document.forms) {
  const [sendButton, disconnectButton] = form.querySelectorAll(":scope > button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const client = new AbortController();
    disconnectButton.onclick = () => client.abort();
    sendButton.disabled = true;
    disconnectButton.disabled = false;
    await send(form, client.signal);
    sendButton.disabled = false;
    disconnectButton.disabled = true;
  });
  offerCurl(form);
}

// The navigation marks the section that is being read, and keeps its mark in view.
const sections = [...document.querySelectorAll("main > section")];

function markSection() {
  const isAtEnd = scrollY + innerHeight > document.documentElement.scrollHeight - 2;
  const begun = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 4);
  const { id } = (isAtEnd ? sections : begun).at(-1) ?? sections[0];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash !== `#${id}`) link.removeAttribute("aria-current");
    else if (!link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "true");
      link.parentElement.scrollTo({ left: link.offsetLeft - 16 });
    }
  }
}

addEventListener("scroll", markSection, { passive: true });
addEventListener("resize", markSection);
markSection();
