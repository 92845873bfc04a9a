"""The experiment: thousands of failed handshakes, disconnects or 404s, next to idle clients and a bystander.

    python -m tests.blackbox.front_door.masses                    20,000 of each kind: `make siege`
    python -m tests.blackbox.front_door.masses --count 1000 404   some of it

The server runs with its default settings. The exit code is 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import os
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final

import trio

from tests.blackbox.front_door.certified import certified
from tests.blackbox.front_door.door import Door, Reading, closing, front_door, socket_of
from tests.blackbox.front_door.hostile import Act
from tests.bystander import Seen

IDLE: Final = 215
PER_S: Final = 500
AT_ONCE: Final = 64  # connections of the attack; a slow server makes it slower, not larger
MAX_GROWTH_MIB: Final = 10
MAX_ITERATION_MS: Final = 50  # on a quiet machine
QUICK: Final = ("--reliable", "--min-delay-ms", "20", "--max-delay-ms", "50")
BAD_CERTIFICATE: Final = bytes.fromhex("1503030002022a")  # an alert
_REQUEST: Final = b"GET /api/first?timeout=2000 HTTP/1.1\r\nHost: a\r\n\r\n"
_NOT_FOUND: Final = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"


def client_hello() -> bytes:
    """A real one: the server does all of its share of the handshake."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO: Final = client_hello()
# What the client sends after the server's part of the handshake, and whether the client then resets.
_FAILURES: Final = cycle(
    [(HELLO, b"", False), (HELLO, b"", True), (HELLO, BAD_CERTIFICATE, False), (b"x" * 64, b"", False)]
)


async def fail_a_handshake(door: Door) -> None:
    first, then, reset = next(_FAILURES)
    with closing(await door.connect(handshake=False), reset=reset) as client:
        await client.send(first)
        await client.stream.receive_some(65536)
        if then:
            await client.send(then)


async def disconnect(door: Door) -> None:
    with closing(await door.connect()) as client:
        await client.send(_REQUEST)
        await trio.sleep(0.01)  # both calls are under way


@dataclass(frozen=True, slots=True)
class Masses:
    """What came of it. worst_iteration_ms: as the server saw it, while it went on."""

    kind: str
    done: int
    seconds: float
    before: Reading
    after: Reading
    worst_iteration_ms: float
    bystander: Seen
    bugs: int

    @property
    def growth_mib(self) -> float:
        return (self.after.resident_kib - self.before.resident_kib) / 1024

    def broken(self) -> list[str]:
        """What must hold on a quiet machine, and did not."""
        holds = {
            f"memory grows by less than {MAX_GROWTH_MIB} MiB": self.growth_mib < MAX_GROWTH_MIB,
            f"no iteration over {MAX_ITERATION_MS} ms": self.worst_iteration_ms <= MAX_ITERATION_MS,
            "no answer of the bystander late": not self.bystander.late,
            "every answer of the bystander a success": set(self.bystander.statuses()) == {200},
            "nothing left": self.after.descriptors <= self.before.descriptors,
            "no bug": not self.bugs,
        }
        return [name for name, so in holds.items() if not so]


async def overrun(door: Door, kind: str, *, count: int, idle: int = IDLE, per_s: float = PER_S) -> Masses:
    """The door needs TLS for handshakes, and none for the others."""
    async with _watching(door) as worst:
        with ExitStack() as opened:
            for _ in range(idle):
                opened.enter_context(closing(await door.connect()))
            await KINDS[kind](door, AT_ONCE, per_s)  # what is allocated once
            before = await door.settled(await door.reading())
            worst.clear()
            began_at = trio.current_time()
            with door.bystander() as seen:
                await KINDS[kind](door, count, per_s)
            seconds = trio.current_time() - began_at
            worst_ms = max(worst)
            after = await door.settled(before)
    return Masses(kind, count, seconds, before, after, worst_ms, seen, await door.bugs())


async def _many_connections(act: Act, door: Door, count: int, per_s: float) -> None:
    limiter = trio.CapacityLimiter(AT_ONCE)
    began_at = trio.current_time()

    async def one() -> None:
        with suppress(trio.BrokenResourceError):
            async with limiter:
                await act(door)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            await trio.sleep_until(began_at + number / per_s)
            nursery.start_soon(one)


async def _fail_handshakes(door: Door, count: int, per_s: float) -> None:
    await _many_connections(fail_a_handshake, door, count, per_s)


async def _disconnect(door: Door, count: int, per_s: float) -> None:
    await _many_connections(disconnect, door, count, per_s)


async def _ask_for_nothing(door: Door, count: int, per_s: float) -> None:
    """On one connection."""
    began_at = trio.current_time()
    with closing(await door.connect()) as client:
        for number in range(count):
            await trio.sleep_until(began_at + number / per_s)
            status, _, _ = await client.ask(_NOT_FOUND)
            assert status == 404


KINDS: Final = {"handshake": _fail_handshakes, "disconnect": _disconnect, "404": _ask_for_nothing}


@asynccontextmanager
async def _watching(door: Door) -> AsyncIterator[list[float]]:
    """Ten times a second, the longest recent event-loop iteration, which fades by half each second."""
    seen: list[float] = []

    async def watch() -> None:
        while True:
            (statistics,) = await door.statistics()
            seen.append(statistics["loop"]["lateness_ms"])
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield seen
        nursery.cancel_scope.cancel(reason="it is over")


async def hellos_at_once(door: Door, count: int) -> Seen:
    """That many connections, open already, send their ClientHello in one moment. What a bystander sees."""
    with ExitStack() as opened:
        clients = [opened.enter_context(closing(await door.connect(handshake=False))) for _ in range(count)]
        with door.bystander(every_s=0.02) as seen:
            await trio.sleep(0.2)
            for sock in map(socket_of, clients):
                await sock.send(HELLO)
            await trio.sleep(1)
    return seen


def _row(masses: Masses) -> str:
    seen = masses.bystander.figures()
    return (
        f"{masses.kind:<11}{masses.done:>7}{masses.seconds:>7.0f} s"
        f"{masses.before.resident_kib / 1024:>9.1f}{masses.after.resident_kib / 1024:>9.1f} MiB"
        f"{masses.worst_iteration_ms:>9.1f} ms   {seen['sent']} sent, {seen['late']} late, "
        f"{seen['rejected']} rejected, {seen['no_answer']} lost, longest {seen['longest_ms']} ms "
        f"(machine {seen['of_that_machine_ms']})"
    )


def _hellos(trust: ssl.SSLContext, options: tuple[str, ...]) -> list[str]:
    with front_door(upstream=QUICK, serve=options, tls=trust) as door:
        seen = trio.run(hellos_at_once, door, 1000)
    figures = seen.figures()
    sys.stdout.write(f"1,000 ClientHellos at once, the bystander: {figures}\n")
    return [] if figures["on_time"] == figures["sent"] and not seen.rejected else ["the bystander on time"]


def main() -> int:
    """Print a row per kind, and what did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "kinds", nargs="*", default=[*KINDS, "hellos"], metavar=" | ".join([*KINDS, "hellos"])
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--per-s", type=float, default=PER_S)
    options = parser.parse_args()
    broken: list[str] = []
    sys.stdout.write(f"{IDLE} idle connections; the machine's load is {os.getloadavg()[0]:.1f}\n")
    sys.stdout.write("kind          count     took   before    after     worst iteration   bystander\n")
    with tempfile.TemporaryDirectory() as folder:
        trust, tls_options = certified(Path(folder))
        for kind in options.kinds:
            if kind == "hellos":
                found = _hellos(trust, tls_options)
            else:
                tls = kind == "handshake"
                serve = tls_options if tls else ()
                with front_door(upstream=QUICK, serve=serve, tls=trust if tls else None) as door:
                    run = partial(overrun, door, kind, count=options.count, per_s=options.per_s)
                    masses = trio.run(run)
                sys.stdout.write(f"{_row(masses)}\n")
                found = masses.broken()
            broken += [f"{kind}: {what}" for what in found]
            sys.stdout.flush()
    for line in broken:
        sys.stdout.write(f"did not hold: {line}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
