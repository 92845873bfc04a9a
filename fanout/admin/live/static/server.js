// The server that this page shows: its version, its upstreams, and what it links to.

import { find, html } from "./dom.js";

let upstreams = [];

export const upstreamOf = (call) => upstreams[call] ?? "–";

const ANY = ["0.0.0.0", "::"]; // then it listens at the address of this page, too
const hostOf = (host) => {
  if (ANY.includes(host)) return location.hostname;
  return host.includes(":") ? `[${host}]` : host;
};

const HERE = [["admin", "./"], ["metrics", "metrics"], ["statistics", "statistics"], ["tasks", "tasks"]];

// about: from the server's greeting.
export function introduce(about) {
  upstreams = about.upstreams ?? [];
  find("#about").textContent = `fanout ${about.version}${about.demo ? " · demo" : ""}`;
  const here = about.demo ? [...HERE, ["lab", "lab"]] : HERE;
  const links = here.map(([name, href]) => html("a", { href }, name));
  if (about.api) {
    const { scheme, host, port } = about.api;
    links.unshift(html("a", { href: `${scheme}://${hostOf(host)}:${port}/docs` }, "API"));
  }
  const ports = about.admin_ports ?? [];
  if (ports.length > 1) {
    ports.forEach((port, index) => {
      const address = `${location.protocol}//${location.hostname}:${port}/live`;
      const current = port === about.admin_port ? "page" : null;
      links.push(html("a", { href: address, "aria-current": current }, `worker ${index}`));
    });
  }
  find("#links").replaceChildren(...links);
}
