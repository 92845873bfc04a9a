"""The addresses of one name: what look-ups have found, and the order in which to try them.

Rule 1: an address is tried last after calls have waited for it for 250 ms in total without an answer. The
        time is added up over calls. A call may end sooner, because its time is up or another call has won;
        without the sum such calls would try the same dead address for ever. Time in which several calls wait
        counts once.
Rule 2: an address that fails while another one connects is tried last, too. The silence of an address that
        connects starts again at zero.
Rule 3: "last" is only an order. No address is left out, when all would be last none is, and every look-up
        begins again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx
import trio

from fanout.upstream.statistics import NameStatistics
from fanout.upstream.wire import Address

HEAD_START_S: Final = 0.25  # RFC 8305: how long an address has before the next one is tried as well
_ROUNDING_S: Final = 1e-6


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt to connect. Neither `connected` nor `failed`: the address has been silent."""

    address: Address
    began_at: float
    connected: bool = False
    failed: bool = False


@dataclass(slots=True)
class _Silence:
    """How long calls have waited for an address in vain, in total, and up to when that is counted."""

    lasted_s: float = 0.0
    counted_until: float = -math.inf


class Addresses:
    """known: all addresses, as looked up last. error: why the last look-up failed."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.known: Sequence[Address] = ()
        self.error: str | None = None
        self._healthy: list[Address] = []
        self._last: list[Address] = []
        self._silences: dict[Address, _Silence] = {}
        self._first_look_up = trio.Event()
        self._looked_up_at = -math.inf
        self._look_ups = 0
        self._failures = 0
        self._passed_over = 0

    async def ready(self) -> None:  # noqa: ASYNC910 - as `Resolver.addresses`
        """Wait for the first look-up. Raises `httpx.ConnectError` if none has succeeded."""
        if not self._first_look_up.is_set():
            await self._first_look_up.wait()
        if not self.known:
            raise httpx.ConnectError(f"{self.host} has no address: {self.error}")

    def looked_up(self, found: Sequence[Address]) -> None:
        """Start again with the addresses that a look-up has found. Raises `OSError` if there is none."""
        if not found:
            raise OSError("the look-up gave no address")
        self.known = tuple(dict.fromkeys(found))
        self._healthy, self._last = list(self.known), []
        self._silences = {address: _Silence() for address in self.known}
        self.error = None
        self._look_ups += 1
        self._looked_up_at = trio.current_time()
        self._first_look_up.set()

    def failed(self, error: Exception) -> None:
        """A look-up has failed. The known addresses are still good."""
        self.error = str(error) if isinstance(error, OSError) and str(error) else repr(error)
        self._look_ups += 1
        self._failures += 1
        self._first_look_up.set()

    def statistics(self) -> NameStatistics:
        """A snapshot."""
        age_s = trio.current_time() - self._looked_up_at
        return NameStatistics(
            name=self.host,
            addresses=tuple(str(where[0]) for _, where in self.known),
            tried_last=tuple(str(where[0]) for _, where in self._last),
            passed_over=self._passed_over,
            age_s=None if math.isinf(age_s) else age_s,
            look_ups=self._look_ups,
            failures=self._failures,
            last_error=self.error,
        )

    def in_turn(self) -> Sequence[Address]:
        """The order for one connection. Each begins with the next healthy address of the first family."""
        healthy = self._healthy
        if len(healthy) > 1:
            preferred = healthy[0][0]
            turn = [address for address in healthy if address[0] == preferred]
            others = [address for address in healthy if address[0] != preferred]
            self._healthy = turn[1:] + turn[:1] + others
            # The second attempt uses the other family, so a family that does not work causes one delay.
            healthy = [turn[0], *others[:1], *turn[1:], *others[1:]]
        return [*healthy, *self._last]

    def learn(self, attempts: Sequence[Attempt]) -> None:
        """Learn from the attempts of one call, in their order, when it is connected or has ended."""
        winner = next((n for n, attempt in enumerate(attempts) if attempt.connected), None)
        for attempt in attempts[:winner]:
            if attempt.failed:
                had_its_chance = winner is not None  # else no address is better
            else:
                had_its_chance = self._add_silence(attempt) >= HEAD_START_S - _ROUNDING_S
            if had_its_chance:
                self._try_last(attempt.address)
        if winner is not None:
            self._forgive(attempts[winner].address)

    def _add_silence(self, silent: Attempt) -> float:
        """Returns how long the silence has lasted, in seconds."""
        silence = self._silences.get(silent.address)
        if silence is None:  # the name no longer has it
            return 0.0
        now = trio.current_time()
        silence.lasted_s += now - max(silent.began_at, silence.counted_until)
        silence.counted_until = now
        return silence.lasted_s

    def _forgive(self, address: Address) -> None:
        self._silences[address] = _Silence(counted_until=trio.current_time())

    def _try_last(self, address: Address) -> None:
        self._forgive(address)
        if address in self._healthy:
            self._healthy.remove(address)
            self._last.append(address)
            self._passed_over += 1
            if not self._healthy:
                self._healthy, self._last = self._last, []
