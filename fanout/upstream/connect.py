"""From an origin to a connected wire: its addresses, happy eyeballs over them, for https the handshake.

Rule 1: however this ends, also by `Cancelled`, no wire is left open but the returned one.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx
import trio

from fanout.upstream.origin import Origin
from fanout.upstream.phases import Phase, PhaseHook
from fanout.upstream.resolver import Resolver
from fanout.upstream.tls import TlsSessions
from fanout.upstream.tls_wire import TlsWire
from fanout.upstream.wire import Address, Wire

HEAD_START_S: Final = 0.25  # RFC 8305: how long an address has before the next one is tried beside it

Dial = Callable[[Address], Awaitable[Wire]]


class Connector:
    """Opens wires. `dial` is where a simulated world comes in: below happy eyeballs and TLS."""

    def __init__(self, resolver: Resolver, context: ssl.SSLContext, dial: Dial) -> None:
        self._resolver = resolver
        self._sessions = TlsSessions(context)
        self._dial = dial

    async def open(self, origin: Origin, on_phase: PhaseHook) -> Wire:
        """A connected wire to `origin`. Raises `httpx.ConnectError`."""
        on_phase(Phase.CONNECT)
        addresses = await self._resolver.addresses(origin.host, origin.port)
        try:
            wire, overtaken = await first_to_connect(addresses, self._dial)
        except OSError as error:
            raise httpx.ConnectError(f"{origin}: {error}") from error
        for address in overtaken:
            self._resolver.demote(origin.host, origin.port, address)
        if origin.scheme != "https":
            return wire
        try:
            on_phase(Phase.TLS)
            secured = TlsWire(wire, self._sessions, origin)
            await secured.handshake()
        except BaseException as error:
            wire.abort()
            if isinstance(error, OSError | ValueError):
                raise httpx.ConnectError(f"{origin}: {error}") from error
            raise
        return secured


async def first_to_connect(addresses: Sequence[Address], dial: Dial) -> tuple[Wire, Sequence[Address]]:
    """The first wire to be there, and the addresses before it that had their chance.

    An address has a head start of 250 ms over the next one, which begins at once when it fails.
    Raises `OSError`, the first that came, when all have failed.
    """
    if len(addresses) == 1:
        return await dial(addresses[0]), ()
    connected: list[tuple[Address, Wire]] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:  # noqa: ASYNC910 - dial waits or fails
        try:
            connected.append((address, await dial(address)))
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            nursery.cancel_scope.cancel(reason="another address connected first")

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed, name=f"connect to {address[1][0]}")
                with trio.move_on_after(HEAD_START_S):
                    await failed.wait()
    except BaseException:
        for _, wire in connected:
            wire.abort()
        raise
    if not connected:
        raise errors[0]
    for _, wire in connected[1:]:  # two may connect in the same pass of the loop
        wire.abort()
    winner, wire = connected[0]
    return wire, addresses[: addresses.index(winner)]
