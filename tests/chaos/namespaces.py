"""Three machines on this one: clients, servers, upstreams, each a network namespace with its TCP stack.

Made with `ip netns` and TUN devices, which every Linux has; needs root. A run that was killed leaves its
namespaces behind, and the next one removes them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos.link import Link
from tests.lacking import AS_ROOT, reason

_PREFIX: Final = "fanout-chaos"
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000

# RFC 2544: for tests of network devices, never anybody's address.
SERVER_TO_CLIENTS, CLIENTS = "198.18.1.1", "198.18.1.2"
SERVER_TO_UPSTREAMS, UPSTREAMS = "198.18.2.1", "198.18.2.2"


@dataclass(frozen=True, slots=True)
class Network:
    """The namespaces' names, and the links from the server to both others."""

    server: str
    clients: str
    upstreams: str
    to_clients: Link
    to_upstreams: Link


def within(namespace: str) -> list[str]:
    """The words before a command that runs it there. It replaces itself: the process is the command's."""
    return ["ip", "netns", "exec", namespace]


def why_not() -> str | None:
    """Why no network can be made here, or `None`."""
    if shutil.which("ip") is None:
        return reason("ip")
    if os.geteuid() != 0:
        return reason("root", AS_ROOT)
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun: the kernel has no TUN devices"
    name = f"{_PREFIX}-{os.getpid()}-try"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no network namespaces: {done.stderr.strip()}"
    _ip("netns", "del", name)
    return None


@contextmanager
def network(random: Random) -> Iterator[Network]:
    """Every process within the namespaces should have ended before the block does."""
    _remove_leftovers()
    names = [f"{_PREFIX}-{os.getpid()}-{role}" for role in ("server", "clients", "upstreams")]
    server, clients, upstreams = names
    made: list[str] = []
    links: list[Link] = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        for far, ours, theirs in (
            (clients, SERVER_TO_CLIENTS, CLIENTS),
            (upstreams, SERVER_TO_UPSTREAMS, UPSTREAMS),
        ):
            links.append(Link((_device(server, ours, theirs), _device(far, theirs, ours)), random))
        yield Network(server, clients, upstreams, *links)
    finally:
        for link in links:
            link.close()
        for name in made:
            _ip("netns", "del", name)


def _device(namespace: str, address: str, peer: str) -> int:
    """A TUN device with that address in the namespace; its other end is the file descriptor."""
    name = f"c{os.getpid()}-{address.split(chr(46), 2)[2]}"
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        _ip("link", "set", name, "netns", namespace)
        _ip("-n", namespace, "addr", "add", address, "peer", peer, "dev", name)
        _ip("-n", namespace, "link", "set", name, "up")
    except BaseException:
        os.close(end)
        raise
    return end


def _remove_leftovers() -> None:
    """Of runs that were killed: a name holds the run's process id."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        if name.startswith(f"{_PREFIX}-") and not Path(f"/proc/{name.split('-')[2]}").exists():
            _ip("netns", "del", name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
